"""Data preprocessor of tracking: from packed pairs and sequences to the input of the tracker."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmbsa.registry import MODELS


@MODELS.register_module()
class TrackDataPreprocessor(BaseDataPreprocessor):
    """Stack the crops of a batch time-major and normalise them; sequences of frames are returned
    unchanged.

    SDTrack uses unnormalised event images (0..255) for FE108 and VisEvent. For FELT its readme
    requires ``mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]``.

    Args:
        mean: mean per channel, in 0..255; None (default) means no normalisation.
        std: standard deviation per channel, in 0..255; None (default) means no normalisation.
        non_blocking: whether the copy to the device is asynchronous; default False.

    Raises:
        ValueError: only one of ``mean`` and ``std`` is given.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        non_blocking: bool = False,
    ):
        super().__init__(non_blocking)
        if (mean is None) != (std is None) or (std is not None and len(mean) != len(std)):
            raise ValueError(
                'TrackDataPreprocessor: mean and std must both be None or have equal lengths, got '
                f'mean={mean} and std={std}'
            )
        for name, value in (('mean', mean), ('std', std)):
            tensor = (
                None if value is None else torch.tensor(value, dtype=torch.float32).view(-1, 1, 1)
            )
            self.register_buffer(name, tensor, persistent=False)

    def normalize(self, crops: Tensor) -> Tensor:
        """Return crops (..., 3, h, w) uint8 as normalised float32 on the device of the model."""
        crops = crops.to(self.device, non_blocking=self._non_blocking).float()
        return crops if self.mean is None else (crops - self.mean) / self.std

    def forward(self, data: dict, training: bool = False) -> dict:
        """Stack and normalise a batch of pairs; return a batch of sequences unchanged.

        Args:
            data: dict with ``inputs`` and ``data_samples``.
            training: accepted and not used.

        Returns:
            A dict with ``inputs``, for pairs ``dict(template, search)`` of (T, B, 3, h, w) float32,
            and ``data_samples``.
        """
        inputs, samples = data['inputs'], data.get('data_samples')
        if 'frames' in inputs:
            return dict(inputs=inputs, data_samples=samples)
        inputs = {
            name: self.normalize(torch.stack(list(crops), 1)) for name, crops in inputs.items()
        }
        return dict(
            inputs=inputs, data_samples=None if samples is None else self.cast_data(samples)
        )
