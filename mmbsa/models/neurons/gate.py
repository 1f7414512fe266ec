"""The surrogate gradient of the STEP benchmark that SpikingJelly does not have."""

import torch
from spikingjelly.activation_based import surrogate as sj
from torch import Tensor


class _Gate(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, alpha: float) -> Tensor:
        return sj.heaviside(x)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, float], output: Tensor) -> None:
        x, alpha = inputs
        if x.requires_grad:
            ctx.save_for_backward(x.abs() < 1 / alpha)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (passing,) = ctx.saved_tensors
        return grad * passing, None


class Gate(sj.SurrogateFunctionBase):
    r"""Surrogate gradient that is 1 within a window and 0 elsewhere:
    :math:`g'(x) = [|x| < 1/\alpha]`.

    SpikingJelly's ``Rect`` has area 1 for every width; this one has height 1. ``Gate(alpha=2)`` and
    ``Rect(alpha=1)`` are equal.

    Args:
        alpha: the inverse of half the window's width; default 2.
        spiking: True (default) computes spikes; False computes the primitive function.
    """

    def __init__(self, alpha: float = 2.0, spiking: bool = True):
        super().__init__(spiking=spiking, alpha=alpha)

    @staticmethod
    def spiking_function(x: Tensor, alpha: float) -> Tensor:
        """Return the spikes for ``x``, the membrane potential minus the threshold, of any shape."""
        return _Gate.apply(x, alpha)

    @staticmethod
    def primitive_function(x: Tensor, alpha: float) -> Tensor:
        """Return the function whose derivative is the surrogate gradient, for ``x`` of any
        shape."""
        return x.clamp(-1 / alpha, 1 / alpha) + 1 / alpha
