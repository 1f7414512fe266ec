"""Common parts of the implementations of ``lif``: parameters, surrogates and memory layout.

An implementation has two functions on N independent neurons, which write into given tensors:

* ``forward(x, v0, spikes, v, p)`` reads the currents x (T, N) and the membrane potential v0 (N,)
  before the first step, writes the spikes (T, N) and the membrane potential v (N,) after the last
  step,
* ``backward(grad, grad_v, x, v0, grad_x, grad_v0, p)`` reads the gradients of the spikes and of v,
  writes those of x and of v0. It computes the membrane potentials again from x and v0; nothing else
  is kept for it.

v0, v, grad_v and grad_v0 are in the working dtype, or all None if the neurons start from rest and
no membrane potential is returned. x, spikes, grad and grad_x have one dtype. All are contiguous
except x, whose rows may have any distance in memory (T equal steps may be one row, stride 0), and
grad, which may have any strides, 0 included.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: surrogates by name: their derivative is ``factor(alpha) * shape(alpha, z)``, z is the distance to
#: the threshold. All are even in z, so one formula is valid for both thresholds of a ternary
#: neuron.
SURROGATES = ('sigmoid', 'atan', 'piecewise_quadratic', 'rect')


@dataclass(frozen=True)
class Parameters:
    """Parameters of one layer of neurons; see :func:`mmbsa.ops.lif` for their meaning."""

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
        """The membrane potential before the first step."""
        return 0.0 if self.v_reset is None else self.v_reset

    @property
    def factor(self) -> float:
        """The constant factor of the surrogate's derivative."""
        return self.alpha / 2 if self.surrogate == 'atan' else self.alpha

    @property
    def halves(self) -> bool:
        """Whether the division by tau is exact, so that a product with 1 / tau gives the same
        bits."""
        return self.tau is not None and math.frexp(self.tau)[0] == 0.5


def threshold_in(value: float, dtype: torch.dtype) -> float:
    """Return the threshold ``value`` rounded to ``dtype``, as comparisons in that dtype use it."""
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
