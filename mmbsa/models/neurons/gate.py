"""The one surrogate gradient of the STEP benchmark that SpikingJelly does not have."""

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
    r"""Straight-through gradient within a window: :math:`g'(x) = [|x| < 1/\alpha]`.

    SpikingJelly's ``Rect`` has area 1 whatever its width; this one has height 1, and both are the
    same at ``Gate(alpha=2), Rect(alpha=1)``.

    Args:
        alpha: one over half of the window's width.
        spiking: False computes the primitive function instead of spikes.
    """

    def __init__(self, alpha: float = 2.0, spiking: bool = True):
        super().__init__(spiking=spiking, alpha=alpha)

    @staticmethod
    def spiking_function(x: Tensor, alpha: float) -> Tensor:
        """Membrane potential over threshold, any shape -> spikes."""
        return _Gate.apply(x, alpha)

    @staticmethod
    def primitive_function(x: Tensor, alpha: float) -> Tensor:
        """What the gradient is the derivative of."""
        return x.clamp(-1 / alpha, 1 / alpha) + 1 / alpha
