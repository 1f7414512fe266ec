"""Running firing rates, with which SpikingResformer scales its products of spikes."""

import torch
from torch import Tensor, nn


class FiringRate(nn.Module):
    r"""Exponential moving average of the firing rate of each head (SpikingResformer, Shi et al.,
    CVPR 2024).

    .. math:: f \leftarrow (1 - m) f + m \cdot \mathrm{mean}(|S|)

    If the rates of all heads are zero, the first training batch sets them. In eval mode the rates
    do not change.

    Args:
        num_heads: number of heads.
        momentum: m, the weight of a new batch; default 0.001.
    """

    def __init__(self, num_heads: int, momentum: float = 0.001):
        super().__init__()
        self.momentum = momentum
        self.register_buffer('rate', torch.zeros(num_heads))

    def forward(self, spikes: Tensor) -> Tensor:
        """Return the rates (heads, 1, 1) after an update by spikes (T, B, heads, *, *); a rate of 0
        is returned as 1."""
        if self.training and self.momentum > 0:
            with torch.no_grad():
                batch = spikes.abs().mean((0, 1, 3, 4)).to(self.rate.dtype)
                known = torch.where((self.rate == 0).all(), batch, self.rate)
                self.rate.copy_(known * (1 - self.momentum) + batch * self.momentum)
        # the official code divides by a rate of 0 before training, which gives infinite values
        return self.rate.masked_fill(self.rate == 0, 1.0).view(-1, 1, 1)
