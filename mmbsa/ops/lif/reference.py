"""LIF step by step in plain torch, as the equations define it; the reference in the tests of the
other implementations."""

import torch
from torch import Tensor

from mmbsa.ops.lif.common import Parameters, shape, threshold_in
from mmbsa.ops.registration import working_dtype


def charge(x: Tensor, v: Tensor, p: Parameters) -> Tensor:
    """Return H[t] from X[t] and V[t-1], with the order of operations of SpikingJelly."""
    if p.tau is None:
        return v + x
    if p.decay_input:
        return v + (x - (v - p.rest)) / p.tau
    return v - (v - p.rest) / p.tau + x


def membranes(
    x: Tensor, v0: Tensor | None, p: Parameters
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return H and S of every step, and V after the last step, in float32 or float64."""
    x = x.to(working_dtype(x.dtype))
    threshold = threshold_in(p.v_threshold, x.dtype)
    v = torch.full_like(x[0], p.rest) if v0 is None else v0
    charged, spikes = [], []
    for x_t in x:
        h = charge(x_t, v, p)
        s = (h >= threshold).to(h)
        if p.signed:
            s = s - (-h >= threshold).to(h)
        v = h - threshold * s if p.v_reset is None else torch.where(s != 0, p.v_reset, h)
        charged.append(h)
        spikes.append(s)
    return charged, spikes, v


def forward(x: Tensor, v0: Tensor | None, spikes: Tensor, v: Tensor | None, p: Parameters) -> None:
    """Compute the forward; arguments as in ``common``."""
    _, fired, last = membranes(x, v0, p)
    spikes.copy_(torch.stack(fired))
    if v is not None:
        v.copy_(last)


def backward(
    grad: Tensor,
    grad_v: Tensor | None,
    x: Tensor,
    v0: Tensor | None,
    grad_x: Tensor,
    grad_v0: Tensor | None,
    p: Parameters,
) -> None:
    """Compute the backward by backpropagation through time; arguments as in ``common``.

    With P and N the spikes at the upper and lower threshold, S = P - N, R = P + N: dS/dH = s'(H -
    v_th) + s'(-H - v_th), and V = H - v_th S (soft) or (1 - R) H + R v_reset (hard), where S and R
    are constants if the reset is detached.
    """
    charged, spikes, _ = membranes(x, v0, p)
    threshold = threshold_in(p.v_threshold, charged[0].dtype)
    carry = torch.zeros_like(charged[0]) if grad_v is None else grad_v  # dL/dV[t]
    for t in reversed(range(len(charged))):
        h, s = charged[t], spikes[t]
        upper = p.factor * shape(p, h - threshold)
        lower = p.factor * shape(p, -h - threshold) if p.signed else torch.zeros_like(upper)
        through = torch.ones_like(h) if p.v_reset is None else (s == 0).to(h)  # dV/dH
        if not p.detach_reset and p.v_reset is None:
            through = through - threshold * (upper + lower)
        elif not p.detach_reset:
            reset = 0.0 if p.v_reset is None else p.v_reset
            through = through + (reset - h) * (upper - lower)
        grad_h = grad[t].to(h) * (upper + lower) + carry * through
        leak = 0.0 if p.tau is None else grad_h / p.tau
        grad_x[t] = leak if p.tau is not None and p.decay_input else grad_h
        carry = grad_h - leak
    if grad_v0 is not None:
        grad_v0.copy_(carry)
