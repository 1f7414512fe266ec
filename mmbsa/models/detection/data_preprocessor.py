"""Data preprocessor of event detection: from samples of event frames to batches."""

from mmdet.models.data_preprocessors import DetDataPreprocessor

from mmbsa.registry import MODELS


@MODELS.register_module()
class EventDetDataPreprocessor(DetDataPreprocessor):
    """mmdet's data preprocessor for event frames of ``mmbsa.LoadEventWindow``: from (2 T, H, W) per
    sample to (B, T, 2, H, W).

    Args:
        polarities: channels per frame; default 2.
        args: positional arguments of ``mmdet.DetDataPreprocessor``.
        kwargs: keyword arguments of ``mmdet.DetDataPreprocessor``.
    """

    def __init__(self, *args, polarities: int = 2, **kwargs):
        super().__init__(*args, **kwargs)
        self.polarities = polarities

    def forward(self, data: dict, training: bool = False) -> dict:
        """Pad and stack frames as in mmdet, then split the channel axis into frames and polarities.

        Args:
            data: dict with ``inputs``, a list of (2 T, H, W), and ``data_samples``.
            training: whether batch augmentations are applied; default False.

        Returns:
            A dict with ``inputs`` (B, T, 2, H, W) and ``data_samples``.
        """
        batch = super().forward(data, training)
        batch['inputs'] = batch['inputs'].unflatten(1, (-1, self.polarities))
        return batch
