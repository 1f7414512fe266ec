"""Batch augmentations that fill parts of one sample's event frames from another's."""

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from mmbsa.events import box_mask, gaussian_mask
from mmbsa.registry import MODELS


class MaskMix:
    """Mix each sample of a batch with another one by a mask.

    Labels weigh as much as the events that come from either sample, not as the volume: empty space
    says nothing.

    Args:
        alpha: The part that comes from the other sample is drawn from Beta(alpha, alpha).

    Raises:
        ValueError: alpha <= 0, or inputs that are not frames (B, T, P, H, W).
    """

    def __init__(self, alpha: float = 1.0) -> None:
        if not alpha > 0:
            raise ValueError(f'{type(self).__name__}: alpha must be positive, got {alpha!r}')
        self.alpha = alpha

    @abstractmethod
    def mask(
        self, shape: tuple[int, int, int], share: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Return a boolean mask (T, H, W) that covers ``share`` of the volume."""

    def __call__(self, batch_inputs: Tensor, batch_score: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, P, H, W) and soft labels (B, classes) -> the same, mixed."""
        if batch_inputs.ndim != 5:
            raise ValueError(
                f'{type(self).__name__} mixes event frames (B, T, P, H, W), got '
                f'{tuple(batch_inputs.shape)}'
            )
        frames, height, width = batch_inputs.shape[1], *batch_inputs.shape[3:]
        share = np.random.beta(self.alpha, self.alpha)
        rng = np.random.default_rng(
            np.random.randint(2**31)
        )  # follows the global generator, which a resume restores
        mask = torch.from_numpy(self.mask((frames, height, width), share, rng)).to(
            batch_inputs.device
        )
        order = torch.randperm(len(batch_inputs)).to(batch_inputs.device)
        other = batch_inputs[order]
        mixed = torch.where(mask[:, None], other, batch_inputs)
        foreign = torch.where(mask[:, None], other, torch.zeros_like(other)).abs().sum((1, 2, 3, 4))
        total = mixed.abs().sum((1, 2, 3, 4))
        weight = torch.where(total > 0, foreign / total.clamp(min=1e-12), mask.float().mean())[
            :, None
        ]
        return mixed, batch_score * (1 - weight) + batch_score[order] * weight


@MODELS.register_module()
class EventMix(MaskMix):
    """EventMix (Shen et al., 2022, arXiv 2205.12054): masks are mixtures of Gaussians in space and
    time.

    See ``mmbsa.events.gaussian_mask``. Shapes and errors: see ``MaskMix``.

    Args:
        alpha: See ``MaskMix``.
        num_gaussians: Components of the mixture.
    """

    def __init__(self, alpha: float = 1.0, num_gaussians: int = 3) -> None:
        super().__init__(alpha)
        self.num_gaussians = num_gaussians

    def mask(
        self, shape: tuple[int, int, int], share: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Return a mask of soft blobs."""
        return gaussian_mask(shape, share, rng, self.num_gaussians)


@MODELS.register_module()
class EventCutMix(MaskMix):
    """CutMix (Yun et al., 2019) on event frames: one box, the same in all frames. See
    ``mmbsa.events.box_mask``."""

    def mask(
        self, shape: tuple[int, int, int], share: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Return a mask of one box."""
        return box_mask(shape, share, rng)
