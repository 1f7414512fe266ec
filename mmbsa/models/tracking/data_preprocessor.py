"""From packed pairs and sequences to what the tracker takes."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmbsa.registry import MODELS


@MODELS.register_module()
class TrackDataPreprocessor(BaseDataPreprocessor):
    """Stack the crops of a batch time-major and normalise them; sequences of frames pass.

    SDTrack feeds raw event pictures (0..255) for FE108 and VisEvent. For FELT its readme asks for
    ``mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]``.

    Args:
        mean, std: per channel, in 0..255; None leaves the numbers as they are.
        non_blocking: of the transfer to the device.

    Raises:
        ValueError: a mean without std, or the other way round.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        non_blocking: bool = False,
    ):
        super().__init__(non_blocking)
        if (mean is None) != (std is None) or (std is not None and len(mean) != len(std)):
            raise ValueError(f'TrackDataPreprocessor: mean={mean} and std={std} go together')
        for name, value in (('mean', mean), ('std', std)):
            tensor = (
                None if value is None else torch.tensor(value, dtype=torch.float32).view(-1, 1, 1)
            )
            self.register_buffer(name, tensor, persistent=False)

    def normalize(self, crops: Tensor) -> Tensor:
        """Crops (..., 3, h, w) uint8 -> float32 on the model's device."""
        crops = crops.to(self.device, non_blocking=self._non_blocking).float()
        return crops if self.mean is None else (crops - self.mean) / self.std

    def forward(self, data: dict, training: bool = False) -> dict:
        """Pairs -> ``inputs=dict(template, search)``, (T, B, 3, h, w) float32; sequences pass."""
        inputs, samples = data['inputs'], data.get('data_samples')
        if 'frames' in inputs:
            return dict(inputs=inputs, data_samples=samples)
        inputs = {
            name: self.normalize(torch.stack(list(crops), 1)) for name, crops in inputs.items()
        }
        return dict(
            inputs=inputs, data_samples=None if samples is None else self.cast_data(samples)
        )
