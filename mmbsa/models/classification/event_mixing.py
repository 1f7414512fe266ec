"""Batch augmentations that replace a part of a sample's event frames by those of another sample."""

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from mmbsa.events import box_mask, gaussian_mask
from mmbsa.registry import MODELS


class MaskMix:
    """Base class of batch augmentations that mix each sample with another one by a mask.

    The weights of the two labels are the shares of events that come from the two samples, not the
    shares of volume, because empty pixels contain no information.

    Args:
        alpha: the share of the other sample has the distribution Beta(alpha, alpha); default 1.

    Raises:
        ValueError: ``alpha`` <= 0, or inputs are not frames (B, T, P, H, W).
    """

    def __init__(self, alpha: float = 1.0) -> None:
        if not alpha > 0:
            raise ValueError(f'{type(self).__name__}: alpha must be positive, got {alpha!r}')
        self.alpha = alpha

    @abstractmethod
    def mask(
        self, shape: tuple[int, int, int], share: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Return a boolean mask (T, H, W), true for the pixels of the other sample; subclasses
        define it.

        Args:
            shape: T, H and W.
            share: the share of the mask that is true, 0 to 1.
            rng: the random generator.
        """

    def __call__(self, batch_inputs: Tensor, batch_score: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the samples of a batch.

        Args:
            batch_inputs: frames (B, T, P, H, W).
            batch_score: soft labels (B, classes).

        Returns:
            The mixed frames and soft labels, with the same shapes.
        """
        if batch_inputs.ndim != 5:
            raise ValueError(
                f'{type(self).__name__} mixes event frames (B, T, P, H, W), got '
                f'{tuple(batch_inputs.shape)}'
            )
        frames, height, width = batch_inputs.shape[1], *batch_inputs.shape[3:]
        share = np.random.beta(self.alpha, self.alpha)
        rng = np.random.default_rng(
            np.random.randint(2**31)
        )  # seeded by the global generator, which a resume restores
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
    """EventMix (Shen et al., 2022, arXiv 2205.12054): mixes samples by masks that are Gaussian
    mixtures in space and time.

    The mask is that of ``mmbsa.events.gaussian_mask``; shapes and errors are those of
    :class:`MaskMix`.

    Args:
        alpha: parameter of the distribution of the share, see :class:`MaskMix`; default 1.
        num_gaussians: number of components of the mixture; default 3.
    """

    def __init__(self, alpha: float = 1.0, num_gaussians: int = 3) -> None:
        super().__init__(alpha)
        self.num_gaussians = num_gaussians

    def mask(
        self, shape: tuple[int, int, int], share: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Return a boolean mask from a mixture of Gaussians; arguments as in
        :meth:`MaskMix.mask`."""
        return gaussian_mask(shape, share, rng, self.num_gaussians)


@MODELS.register_module()
class EventCutMix(MaskMix):
    """CutMix (Yun et al., 2019) on event frames: replaces one box, the same in all frames.

    The mask is that of ``mmbsa.events.box_mask``; the arguments are those of :class:`MaskMix`.
    """

    def mask(
        self, shape: tuple[int, int, int], share: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Return a boolean mask of one box; arguments as in :meth:`MaskMix.mask`."""
        return box_mask(shape, share, rng)
