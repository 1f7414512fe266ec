"""What the implementations of ``lif`` share: the parameters, the surrogates, and how steps lie in
memory.

An implementation is two functions on N neurons that know nothing of each other, which write into
what they are given:

* ``forward(x, v0, spikes, v, p)`` reads the currents x (T, N) and the membrane v0 (N,) before the
  first step, writes the spikes (T, N) and the membrane v (N,) after the last step,
* ``backward(grad, grad_v, x, v0, grad_x, grad_v0, p)`` reads the gradients of the spikes and of v,
  writes those of x and of v0. It charges the membranes again from x and v0: nothing else is kept
  for it.

v0, v, grad_v and grad_v0 are in the working dtype, or all None: from rest, and without a membrane
in the result. x, spikes, grad and grad_x share a dtype. All are contiguous but x, whose rows are
any distance apart (T equal steps may be one row, stride 0), and grad, which comes with any strides,
0 included.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: surrogates by name: their derivative is ``factor(alpha) * shape(alpha, z)``, z the distance to
#: the threshold. All are even in z, which lets one formula serve both thresholds of a ternary
#: neuron.
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
        return 0.0 if self.v_reset is None else self.v_reset

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


def shape(p: Parameters, z: Tensor) -> Tensor:
    """Return the derivative of the surrogate function divided by ``p.factor``.

    Args:
        p: parameters of the neuron layer; ``surrogate`` and ``alpha`` are used.
        z: membrane potential minus threshold, of any shape.
    """
    if p.surrogate == 'sigmoid':
        y = torch.sigmoid(p.alpha * z)
        return (1 - y) * y
    if p.surrogate == 'atan':
        return 1 / (1 + (math.pi / 2 * p.alpha * z) ** 2)
    if p.surrogate == 'piecewise_quadratic':
        return (1 - p.alpha * z.abs()).clamp_min(0)
    return (z.abs() < 0.5 / p.alpha).to(z)
