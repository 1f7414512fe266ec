"""LIF over blocks of neurons that stay in the cache for all steps, in place, without an intermediate in memory.

x is read once and spikes are written once; everything between them are a few buffers of one block. Backward charges the
block's membranes again (x is all that is saved), then walks back through the steps.

Two tricks keep the passes few. A hard reset of a binary neuron is one ``threshold`` of the negated membrane, which keeps
what is above -v_th and replaces the rest; so for it w = -v is stored, and ``sign`` stands for that. A ternary neuron's
spikes are the sign of the ``hardshrink`` of its membrane, and the backward of ``hardtanh`` keeps what lies between the
thresholds: its reset, of infinite membranes too.
"""
import math
import threading

import torch
from torch import Tensor

from mmbsa.ops.lif.common import Parameters, just_below, threshold_in
from mmbsa.ops.registration import working_dtype

aten = torch.ops.aten
#: neurons of a block per thread: half a MiB of float32 per buffer (measured; a quarter and the double are within 15 %).
BLOCK = 1 << 17
_kept = threading.local()


def _buffers(count: int, size: int, like: Tensor, dtype: torch.dtype) -> Tensor:
    """(count, size) scratch. On a CPU it is kept for the next call of the thread: the first touch of fresh memory costs
    more than the passes over it."""
    if like.device.type != 'cpu':
        return like.new_empty(count, size, dtype=dtype)
    kept = getattr(_kept, 'memory', None)
    if kept is None or kept.numel() < count * size * dtype.itemsize:
        with torch.inference_mode(False):
            kept = _kept.memory = torch.empty(count * size * dtype.itemsize, dtype=torch.uint8, device='cpu')
    return kept[:count * size * dtype.itemsize].view(dtype).view(count, size)


class _Block:
    """Buffers and passes of one block; ``size`` neurons at most, ``steps`` membranes kept for a backward."""

    def __init__(self, p: Parameters, size: int, x: Tensor, steps: int = 0):
        self.p = p
        self.dtype = working_dtype(x.dtype)
        self.threshold = threshold_in(p.v_threshold, self.dtype)
        self.sign = -1. if not p.signed and p.v_reset is not None else 1.
        self.scratch, self.membrane, self.gone, self.carry, *charged = _buffers(4 + steps, size, x, self.dtype)
        self.charged = charged
        self.one = torch.ones((), dtype=self.dtype, device=x.device)

    def charge(self, x: Tensor, w: Tensor | None, out: Tensor) -> Tensor:
        """sign * H from X and w = sign * V (None: at rest); ``out`` may be w."""
        p, n = self.p, len(x)
        scratch, out = self.scratch[:n], out[:n]
        if w is None:
            w = out.fill_(self.sign * p.rest) if p.rest or p.tau is None or not p.decay_input else None
        if p.tau is None:
            return torch.add(w, x, alpha=self.sign, out=out)
        if not p.decay_input:
            drop = torch.sub(w, self.sign * p.rest, out=scratch) if p.rest else w
            drop = torch.div(drop, p.tau, out=scratch)
            return torch.sub(w, drop, out=out).add_(x, alpha=self.sign)
        if w is None:
            # 16 bits divided by a number are rounded to 16 bits, whatever ``out`` is
            return torch.div(x if x.dtype == self.dtype else out.copy_(x), self.sign * p.tau, out=out)
        if p.rest:
            drive = torch.sub(x, torch.sub(w, self.sign * p.rest, out=scratch), alpha=self.sign, out=scratch)
        else:
            drive = torch.sub(x, w, alpha=self.sign, out=scratch)
        if p.halves:
            return torch.add(w, drive, alpha=self.sign / p.tau, out=out)
        return torch.add(w, drive.div_(p.tau), alpha=self.sign, out=out)

    def beyond(self, w: Tensor) -> Tensor:
        """H where it reaches a threshold of a ternary neuron, 0 elsewhere."""
        return aten.hardshrink.out(w, just_below(self.threshold, self.dtype), out=self.gone[:len(w)])

    def fire(self, w: Tensor, spikes: Tensor) -> None:
        """Write S of sign * H."""
        if self.p.signed:  # a comparison with both thresholds, and a result of the right dtype, in two passes
            gone = self.beyond(w)
            torch.sign(gone, out=spikes) if spikes.dtype == self.dtype else spikes.copy_(gone.sign_())
        elif self.sign > 0:
            torch.ge(w, self.threshold, out=spikes)
        else:
            torch.le(w, -self.threshold, out=spikes)

    def reset(self, w: Tensor, out: Tensor) -> Tensor:
        """sign * V from sign * H; ``out`` may be w."""
        p, n = self.p, len(w)
        if self.sign < 0:
            return aten.threshold.out(w, -self.threshold, -p.v_reset, out=out[:n])
        if not p.signed or p.v_reset is None:
            spikes = self.scratch[:n]
            self.fire(w, spikes)
            return torch.sub(w, spikes, alpha=self.threshold, out=out[:n])
        if not p.v_reset:
            return aten.hardtanh_backward.grad_input(w, w, -self.threshold, self.threshold, grad_input=out[:n])
        gone = self.beyond(w).sign_().abs_()
        kept = aten.hardtanh_backward.grad_input(w, w, -self.threshold, self.threshold, grad_input=out[:n])
        return kept.add_(gone, alpha=p.v_reset)

    def forward(self, x: Tensor, spikes: Tensor) -> None:
        """(T, n) -> (T, n)."""
        w = None
        for t, x_t in enumerate(x):
            w = self.charge(x_t, w, self.membrane)
            self.fire(w, spikes[t])
            if t + 1 < len(x):
                w = self.reset(w, self.membrane)

    def weigh(self, grad: Tensor, z: Tensor) -> Tensor:
        """grad * shape(z), written over z."""
        p = self.p
        if p.surrogate == 'sigmoid':
            z.mul_(p.alpha).sigmoid_()
            return aten.sigmoid_backward.grad_input(grad, z, grad_input=z)
        if p.surrogate == 'atan':
            z.mul_(math.pi / 2 * p.alpha)
            return torch.div(grad, torch.addcmul(self.one, z, z, out=z), out=z)
        z.abs_()
        if p.surrogate == 'piecewise_quadratic':
            return z.mul_(-p.alpha).add_(1).clamp_min_(0).mul_(grad)
        return torch.lt(z, 0.5 / p.alpha, out=z).mul_(grad)

    def backward(self, grad: Tensor, x: Tensor, out: Tensor) -> None:
        """(T, n) gradients of the spikes -> (T, n) gradients of x."""
        last = len(x) - 1
        charged = [h[:x.size(1)] for h in self.charged]
        w = None
        for t, x_t in enumerate(x):
            self.charge(x_t, w, charged[t])
            if t < last:
                w = self.reset(charged[t], self.membrane)
        carry = None
        for t in range(last, -1, -1):
            grad_t = grad[t] if grad.dtype == self.dtype else grad[t].to(self.dtype)
            carry = self.step_back(grad_t, charged[t], carry, out[t])

    def step_back(self, grad: Tensor, w: Tensor, carry: Tensor | None, out: Tensor) -> Tensor:
        """One step of backpropagation: writes dL/dX, returns dL/dV of the step before; ``carry`` is dL/dV of this one."""
        p, n = self.p, len(w)
        z = self.scratch[:n]
        upper, lower = grad, grad  # what the derivative at each threshold is multiplied with
        if carry is not None and not p.detach_reset:
            if p.v_reset is None:
                upper = lower = torch.sub(grad, carry, alpha=self.threshold)
            else:
                reset = torch.mul(w, -self.sign).add_(p.v_reset).mul_(carry)  # (v_reset - H) dL/dV
                upper, lower = grad + reset, grad - reset
        if carry is not None and p.v_reset is not None:
            room = self.carry[:n]
            carry = (aten.hardtanh_backward.grad_input(carry, w, -self.threshold, self.threshold, grad_input=room)
                     if p.signed else aten.threshold_backward.grad_input(carry, w, -self.threshold, grad_input=room))
        grad_h = self.weigh(upper, torch.sub(w, self.sign * self.threshold, out=z))
        if p.signed:
            grad_h = grad_h.add_(self.weigh(lower, w.add_(self.threshold)))
        if carry is None:
            grad_h.mul_(p.factor)
        else:
            grad_h = torch.add(carry, grad_h, alpha=p.factor, out=self.membrane[:n])
        if p.tau is None:
            out.copy_(grad_h)
            return self.membrane[:n].copy_(grad_h)
        if p.decay_input and out.dtype == self.dtype:
            torch.mul(grad_h, 1 / p.tau, out=out) if p.halves else torch.div(grad_h, p.tau, out=out)
            return out if p.tau == 2 else torch.sub(grad_h, out, out=self.membrane[:n])
        leak = grad_h / p.tau
        out.copy_(leak if p.decay_input else grad_h)
        return torch.sub(grad_h, leak, out=self.membrane[:n])


def _blocks(x: Tensor) -> range:
    return range(0, x.size(1), BLOCK * torch.get_num_threads())


def forward(x: Tensor, p: Parameters) -> Tensor:
    """See ``common``."""
    spikes = x.new_empty(x.shape)
    step = min(_blocks(x).step, x.size(1))
    block = _Block(p, step, x)
    for start in _blocks(x):
        block.forward(x[:, start:start + step], spikes[:, start:start + step])
    return spikes


def backward(grad: Tensor, x: Tensor, p: Parameters) -> Tensor:
    """See ``common``."""
    out = x.new_empty(x.shape)
    step = min(_blocks(x).step, x.size(1))
    block = _Block(p, step, x, steps=len(x))
    for start in _blocks(x):
        part = slice(start, start + step)
        block.backward(grad[:, part], x[:, part], out[:, part])
    return out
