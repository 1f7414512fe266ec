"""Running firing rates, which SpikingResformer scales its products of spikes by."""

import torch
from torch import Tensor, nn


class FiringRate(nn.Module):
    r"""Exponential average of the firing rate of every head (SpikingResformer, Shi et al., CVPR
    2024).

    .. math:: f \leftarrow (1 - m) f + m \cdot \mathrm{mean}(|S|)

    Rates that are zero in all heads were never measured; the first batch in training sets them. In
    eval mode nothing moves.

    Args:
        num_heads: h.
        momentum: m, the weight of a batch.
    """

    def __init__(self, num_heads: int, momentum: float = 0.001):
        super().__init__()
        self.momentum = momentum
        self.register_buffer('rate', torch.zeros(num_heads))

    def forward(self, spikes: Tensor) -> Tensor:
        """(T, B, heads, *, *) spikes -> (heads, 1, 1) rates; heads that never fired count as rate
        1."""
        if self.training and self.momentum > 0:
            with torch.no_grad():
                batch = spikes.abs().mean((0, 1, 3, 4)).to(self.rate.dtype)
                known = torch.where((self.rate == 0).all(), batch, self.rate)
                self.rate.copy_(known * (1 - self.momentum) + batch * self.momentum)
        # dividing by a rate of 0, as the official code does before training, would make everything
        # infinite
        return self.rate.masked_fill(self.rate == 0, 1.0).view(-1, 1, 1)
