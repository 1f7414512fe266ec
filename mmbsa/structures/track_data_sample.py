"""The sample of tracking: a pair for training, a sequence for testing."""

from mmengine.structures import BaseDataElement


class TrackDataSample(BaseDataElement):
    """Annotation and prediction of one training pair or one test sequence.

    Training pair:
        * ``gt_box``: tensor (4,) float32 x, y, w, h of the target in the search crop, as parts of
          the crop's side; it may reach beyond the crop.

    Test sequence of N frames:
        * ``gt_boxes``: tensor (N, 4) float64 x, y, w, h in pixels; rows without a target hold what
          the annotation holds there.
        * ``absent``: tensor (N,) bool, the target is annotated as absent.
        * ``pred_boxes``: tensor (N, 4) float64, set by the model; row 0 is the box that was given.
        * ``scores``: tensor (N,) float32, height of the peak per frame; row 0 is 1.
        * ``seconds``: tensor (N,) float64, time per frame.

    Metainfo: ``sequence`` (its name), ``attributes`` (names of what makes it difficult).
    """
