"""Losses of the logits of every time step."""

from copy import deepcopy

from torch import Tensor, nn

from mmbsa.registry import MODELS


@MODELS.register_module()
class TETLoss(nn.Module):
    r"""Loss of temporal efficient training (Deng et al., ICLR 2022, eq. 7-9): the mean of the
    losses of every step.

    .. math:: (1 - \lambda) \frac1T \sum_t CE(O[t], y) + \lambda \frac1T \sum_t MSE(O[t], \phi)

    Args:
        lamb: lambda, the share of the second term, in [0, 1]; default 0.001, as in the recipe of
            Spike-driven Transformer V1.
        target: phi, the target value of all logits in the second term; default 1.
        loss: config of the loss of one step, any loss of mmpretrain, also with label smoothing or
            soft targets; None (default) is cross entropy.
        loss_weight: factor on the loss; default 1.

    Raises:
        ValueError: ``lamb`` is outside [0, 1].
    """

    #: True means that a head passes the logits of every step to this loss.
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
            raise ValueError(f'TETLoss: lamb must be in [0, 1], got {lamb}')
        self.lamb, self.target, self.loss_weight = lamb, target, loss_weight
        self.loss = MODELS.build(deepcopy(loss or dict(type='mmpretrain.CrossEntropyLoss')))

    def forward(
        self, steps: Tensor, target: Tensor, avg_factor: int | None = None, **kwargs
    ) -> Tensor:
        """Return the loss, a scalar.

        Args:
            steps: logits of every step (T, B, K).
            target: labels (B,), or scores (B, K).
            avg_factor: divisor of the sum over samples; None (default) means B.
            kwargs: further arguments of the loss of one step.

        Raises:
            ValueError: ``steps`` is not (T, B, K).
        """
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
        """Return the weights for ``repr``."""
        return f'lamb={self.lamb:g}, target={self.target:g}, loss_weight={self.loss_weight:g}'
