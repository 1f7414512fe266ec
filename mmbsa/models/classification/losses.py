"""Losses on the logits of every step."""

from copy import deepcopy

from torch import Tensor, nn

from mmbsa.registry import MODELS


@MODELS.register_module()
class TETLoss(nn.Module):
    r"""Temporal efficient training (Deng et al., ICLR 2022, eq. 7-9): every step has to be right by
    itself.

    .. math:: (1 - \lambda) \frac1T \sum_t CE(O[t], y) + \lambda \frac1T \sum_t MSE(O[t], \phi)

    Args:
        lamb: lambda, the share of the second term, in [0, 1]; 0.001 in the recipe of Spike-driven
            Transformer V1.
        target: phi, the value that all logits are pulled to.
        loss: config of the loss of one step; any of mmpretrain's, label smoothing and soft targets
            included.
        loss_weight: factor on the sum.

    Raises:
        ValueError: lamb outside [0, 1].
    """

    #: tells a head to hand over the logits of every step.
    per_step = True

    def __init__(
        self,
        lamb: float = 0.001,
        target: float = 1.0,
        loss: dict | None = None,
        loss_weight: float = 1.0,
    ):
        super().__init__()
        if not 0 <= lamb <= 1:
            raise ValueError(f'TETLoss: lamb must lie in [0, 1], got {lamb}')
        self.lamb, self.target, self.loss_weight = lamb, target, loss_weight
        self.loss = MODELS.build(deepcopy(loss or dict(type='mmpretrain.CrossEntropyLoss')))

    def forward(
        self, steps: Tensor, target: Tensor, avg_factor: int | None = None, **kwargs
    ) -> Tensor:
        """Logits (T, B, K), and labels (B,) or scores (B, K) -> the loss."""
        if steps.ndim != 3:
            raise ValueError(
                f'TETLoss needs the logits of every step, (T, B, K), got {tuple(steps.shape)}'
            )
        size = {} if avg_factor is None else dict(avg_factor=avg_factor)
        loss = sum(self.loss(logits, target, **size, **kwargs) for logits in steps) / len(steps)
        if self.lamb:
            loss = (1 - self.lamb) * loss + self.lamb * (steps - self.target).square().mean()
        return self.loss_weight * loss

    def extra_repr(self) -> str:
        """Weights."""
        return f'lamb={self.lamb:g}, target={self.target:g}, loss_weight={self.loss_weight:g}'
