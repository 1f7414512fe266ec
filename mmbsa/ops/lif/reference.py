"""LIF step by step in plain torch; reads like the equations and judges the others."""
import torch
from torch import Tensor

from mmbsa.ops.lif.common import Parameters, shape, threshold_in
from mmbsa.ops.registration import working_dtype


def charge(x: Tensor, v: Tensor, p: Parameters) -> Tensor:
    """H[t] from X[t] and V[t-1], in the order of operations of SpikingJelly."""
    if p.tau is None:
        return v + x
    if p.decay_input:
        return v + (x - (v - p.rest)) / p.tau
    return v - (v - p.rest) / p.tau + x


def membranes(x: Tensor, p: Parameters) -> tuple[list[Tensor], list[Tensor]]:
    """(H, S) of every step; both in float32 at least."""
    x = x.to(working_dtype(x.dtype))
    threshold = threshold_in(p.v_threshold, x.dtype)
    v = torch.full_like(x[0], p.rest)
    charged, spikes = [], []
    for x_t in x:
        h = charge(x_t, v, p)
        s = (h >= threshold).to(h)
        if p.signed:
            s = s - (-h >= threshold).to(h)
        v = h - threshold * s if p.v_reset is None else torch.where(s != 0, torch.full_like(h, p.v_reset), h)
        charged.append(h)
        spikes.append(s)
    return charged, spikes


def forward(x: Tensor, p: Parameters) -> Tensor:
    """See ``common``."""
    return torch.stack(membranes(x, p)[1]).to(x.dtype)


def backward(grad: Tensor, x: Tensor, p: Parameters) -> Tensor:
    """Backpropagation through time. With P and N the events at the upper and lower threshold, S = P - N, R = P + N:

    dS/dH = s'(H - v_th) + s'(-H - v_th), and V = H - v_th S (soft) or (1 - R) H + R v_reset (hard), where S and R are
    constants if the reset is detached.
    """
    charged, spikes = membranes(x, p)
    threshold = threshold_in(p.v_threshold, charged[0].dtype)
    grads, carry = [None] * len(charged), torch.zeros_like(charged[0])  # carry: dL/dV[t]
    for t in reversed(range(len(charged))):
        h, s = charged[t], spikes[t]
        upper = p.factor * shape(p, h - threshold)
        lower = p.factor * shape(p, -h - threshold) if p.signed else torch.zeros_like(upper)
        through = torch.ones_like(h) if p.v_reset is None else (s == 0).to(h)  # dV/dH
        if not p.detach_reset and p.v_reset is None:
            through = through - threshold * (upper + lower)
        elif not p.detach_reset:
            through = through + (p.v_reset - h) * (upper - lower)
        grad_h = grad[t].to(h) * (upper + lower) + carry * through
        leak = 0. if p.tau is None else grad_h / p.tau
        grads[t] = leak if p.tau is not None and p.decay_input else grad_h
        carry = grad_h - leak
    return torch.stack(grads).to(x.dtype)
