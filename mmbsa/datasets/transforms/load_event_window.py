"""The loading step for detection in event recordings."""

import numpy as np
from mmcv.transforms import BaseTransform

from mmbsa.events import integrate, read_window
from mmbsa.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadEventWindow(BaseTransform):
    """Count the events of a window per frame, polarity and pixel.

    It replaces the loading of an image in a stock pipeline.

    Required keys: ``img_path``, ``event_window`` (start and stop in microseconds), ``sensor_size``
    (height, width).

    Added keys: ``img`` (float32, (H, W, 2 T): off and on of the first frame, of the second, ...),
    ``img_shape``, ``ori_shape``. ``mmbsa.EventDetDataPreprocessor`` converts a batch of them to
    (B, T, 2, H, W). mmdet's steps for images can be used between both.

    Args:
        num_frames: number of frames T of equal length, 4 by default.
        max_count: largest count; larger counts are clipped. None (default) keeps all counts.

    Raises:
        ValueError: ``num_frames`` or ``max_count`` is below 1, or the recording is damaged; the
            message names the file.
    """

    def __init__(self, num_frames: int = 4, max_count: int | None = None) -> None:
        if num_frames < 1 or (max_count is not None and max_count < 1):
            raise ValueError(
                'mmbsa.LoadEventWindow: num_frames and max_count must be at least 1, got '
                f'num_frames={num_frames}, max_count={max_count}'
            )
        self.num_frames, self.max_count = num_frames, max_count

    def transform(self, results: dict) -> dict:
        """Add the frames to ``results``."""
        (start, stop), size = results['event_window'], tuple(results['sensor_size'])
        borders = np.linspace(start, stop, self.num_frames + 1).round().astype(np.int64)
        counts = integrate(
            read_window(results['img_path'], start, stop, size),
            size,
            'timestamps',
            timestamps=borders,
        )
        if self.max_count is not None:
            counts = counts.clip(max=self.max_count)
        results['img'] = np.ascontiguousarray(
            counts.reshape(-1, *size).transpose(1, 2, 0), dtype=np.float32
        )
        results['img_shape'] = results['ori_shape'] = size
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_frames={self.num_frames}, max_count={self.max_count})'
