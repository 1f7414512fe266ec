"""From samples of event frames to batches."""

from mmdet.models.data_preprocessors import DetDataPreprocessor

from mmbsa.registry import MODELS


@MODELS.register_module()
class EventDetDataPreprocessor(DetDataPreprocessor):
    """mmdet's preprocessor for frames of ``mmbsa.LoadEventWindow``: (2 T, H, W) per sample -> (B,
    T, 2, H, W).

    Args:
        polarities: channels per frame.
        args, kwargs: see ``mmdet.DetDataPreprocessor``.
    """

    def __init__(self, *args, polarities: int = 2, **kwargs):
        super().__init__(*args, **kwargs)
        self.polarities = polarities

    def forward(self, data: dict, training: bool = False) -> dict:
        """Pad and stack as mmdet does, then tell frames from polarities."""
        batch = super().forward(data, training)
        batch['inputs'] = batch['inputs'].unflatten(1, (-1, self.polarities))
        return batch
