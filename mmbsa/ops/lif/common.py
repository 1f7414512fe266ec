"""What the implementations of ``lif`` share: the parameters, the surrogates, and how steps lie in memory.

An implementation is two functions on (T, N) tensors, N neurons that know nothing of each other. Rows of x are
contiguous and any distance apart; T equal steps may be one row (stride 0):

* ``forward(x, p) -> spikes`` of x's dtype, contiguous,
* ``backward(grad, x, p) -> grad_x`` (T, N), contiguous, which charges the membranes again from x: nothing else
  is kept for it. ``grad`` comes with any strides, 0 included.
"""
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: surrogates by name: their derivative is ``factor(alpha) * shape(alpha, z)``, z the distance to the threshold. All are
#: even in z, which lets one formula serve both thresholds of a ternary neuron.
SURROGATES = ('sigmoid', 'atan', 'piecewise_quadratic', 'rect')


@dataclass(frozen=True)
class Parameters:
    """Dynamics of one layer of neurons; see :func:`mmbsa.ops.lif` for their meaning."""

    tau: float | None
    decay_input: bool
    v_threshold: float
    v_reset: float | None
    detach_reset: bool
    surrogate: str
    alpha: float
    signed: bool

    @property
    def rest(self) -> float:
        """Membrane potential before the first step."""
        return 0. if self.v_reset is None else self.v_reset

    @property
    def factor(self) -> float:
        """The constant in front of the surrogate's derivative."""
        return self.alpha / 2 if self.surrogate == 'atan' else self.alpha

    @property
    def halves(self) -> bool:
        """Whether dividing by tau is exact, so that a product with 1 / tau gives the same bits."""
        return self.tau is not None and math.frexp(self.tau)[0] == 0.5


def threshold_in(value: float, dtype: torch.dtype) -> float:
    """The threshold as a comparison in ``dtype`` sees it."""
    return value if dtype == torch.float64 else float(np.float32(value))


def just_below(value: float, dtype: torch.dtype) -> float:
    """The largest number of ``dtype`` below ``value``."""
    kind = np.float64 if dtype == torch.float64 else np.float32
    return float(np.nextafter(kind(value), kind(-math.inf)))


def shape(p: Parameters, z: Tensor) -> Tensor:
    """The surrogate's derivative over its ``factor``, at a distance z to the threshold."""
    if p.surrogate == 'sigmoid':
        y = torch.sigmoid(p.alpha * z)
        return (1 - y) * y
    if p.surrogate == 'atan':
        return 1 / (1 + (math.pi / 2 * p.alpha * z) ** 2)
    if p.surrogate == 'piecewise_quadratic':
        return (1 - p.alpha * z.abs()).clamp_min(0)
    return (z.abs() < 0.5 / p.alpha).to(z)
