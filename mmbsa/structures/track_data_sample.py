"""The data sample of tracking: a pair for training, a sequence for testing."""

from mmengine.structures import BaseDataElement


class TrackDataSample(BaseDataElement):
    """Annotation and prediction of one training pair or one test sequence.

    Training pair:
        * ``gt_box``: tensor (4,) float32, x, y, w, h of the target in the search crop, divided by
          the side of the crop. The box may be partly outside the crop.

    Test sequence of N frames:
        * ``gt_boxes``: tensor (N, 4) float64, x, y, w, h in pixels. Rows without a target have the
          values of the annotation file.
        * ``absent``: tensor (N,) bool, True where the annotation says that the target is absent.
        * ``pred_boxes``: tensor (N, 4) float64 in pixels, set by the model; row 0 is the given box.
        * ``scores``: tensor (N,) float32, the largest value of the score map per frame; row 0 is 1.
        * ``seconds``: tensor (N,) float64, time per frame in seconds.

    Metainfo: ``sequence`` (name of the sequence), ``attributes`` (names of its difficulties).
    """
