"""The public leaky integrate-and-fire op, its registration with ``torch.library``, and its validation."""
import math

from torch import Tensor

from mmbsa.ops import dispatch, kernels
from mmbsa.ops.layout import as_rows, from_rows, like_rows, memory_order
from mmbsa.ops.lif import blocked, fused, native, reference
from mmbsa.ops.lif.common import SURROGATES, Parameters
from mmbsa.ops.registration import Op

NAME = 'lif'

dispatch.register(NAME, dispatch.Implementation('triton', fused.forward, fused.backward, missing=kernels.missing,
                                                refuses=fused.refuses, slower=fused.slower))
dispatch.register(NAME, dispatch.Implementation('native', native.forward, native.backward, missing=native.missing,
                                                refuses=native.refuses))
dispatch.register(NAME, dispatch.Implementation('blocked', blocked.forward, blocked.backward))
dispatch.register(NAME, dispatch.Implementation('reference', reference.forward, reference.backward))


def lif(x: Tensor, *, tau: float | None = 2., decay_input: bool = True, v_threshold: float = 1.,
        v_reset: float | None = 0., detach_reset: bool = False, surrogate: str = 'sigmoid', alpha: float = 4.,
        signed: bool = False, impl: str = 'auto') -> Tensor:
    """Leaky integrate-and-fire neurons over T steps, from rest; the numbers are those of SpikingJelly's nodes.

    .. math::
        H[t] &= V[t-1] + (X[t] - (V[t-1] - V_{reset})) / \\tau \\\\
        S[t] &= [H[t] >= V_{th}] - [H[t] <= -V_{th}] \\quad\\text{(the second only if signed: TSN, BSA eqs. 9-11)} \\\\
        V[t] &= V_{reset} \\text{ where } S[t] \\ne 0, H[t] \\text{ elsewhere} \\quad\\text{(soft: } H[t] - V_{th} S[t])

    Membranes are kept in float32 (float64 for float64 inputs). Only x is saved for backward. Channels-last maps and
    equal steps (expanded, stride 0) are read as they lie; steps with gaps in memory are copied.

    Args:
        x: (T, *) input current, floating.
        tau: time constant of the membrane; None integrates without a leak (IF): H[t] = V[t-1] + X[t].
        decay_input: whether the input is divided by tau too; otherwise H[t] = V[t-1] - (V[t-1] - V_reset)/tau + X[t].
        v_threshold: threshold, positive.
        v_reset: potential after a spike and before the first step; None subtracts the threshold and starts from 0.
        detach_reset: whether the reset is a constant to the gradient.
        surrogate: ``'sigmoid'``, ``'atan'``, ``'piecewise_quadratic'`` or ``'rect'``, as SpikingJelly defines them.
        alpha: its sharpness, positive.
        signed: ternary spikes {-1, 0, 1} instead of binary ones.
        impl: ``'auto'`` or one of ``implementations('lif')``.

    Returns:
        (T, *) spikes in x's dtype; every step has x's memory layout, or is contiguous where x had to be copied.

    Raises:
        ValueError: x has no step or is not floating, or a parameter is out of range; the message names it.
        RuntimeError: the implementation asked for cannot take this call; with the reason.
    """
    if x.dim() < 1 or x.size(0) < 1 or not x.is_floating_point():
        raise ValueError(f'{NAME}: x must be floating and (T, *) with T >= 1, got {x.dtype} {tuple(x.shape)}')
    if tau is not None and not tau >= 1:
        raise ValueError(f'{NAME}: tau must be at least 1 or None, got {tau}')
    for name, value in (('v_threshold', v_threshold), ('alpha', alpha)):
        if not 0 < value < math.inf:
            raise ValueError(f'{NAME}: {name} must be positive and finite, got {value}')
    if v_reset is not None and not (-v_threshold if signed else -math.inf) < v_reset < v_threshold:
        raise ValueError(f'{NAME}: v_reset must lie below v_threshold={v_threshold} (and above its negative if signed), '
                         f'got {v_reset}')
    if surrogate not in SURROGATES:
        raise ValueError(f'{NAME}: surrogate must be one of {SURROGATES}, got {surrogate!r}')
    return _OP(x, tau, decay_input, v_threshold, v_reset, detach_reset, surrogate, alpha, signed,
               dispatch.resolve(NAME, impl, x))


def ternary_lif(x: Tensor, **kwargs) -> Tensor:
    """:func:`lif` with spikes {-1, 0, 1}: the ternary spiking neuron TSN (BSA paper, eqs. 9-11)."""
    return lif(x, signed=True, **kwargs)


def _forward(x: Tensor, *parameters) -> Tensor:
    *p, impl = parameters
    order = memory_order(x)
    if not x.numel():
        return like_rows(x, order)
    return from_rows(dispatch.get(NAME, impl).forward(as_rows(x, order), Parameters(*p)), x, order)


def _backward(grad: Tensor, x: Tensor, *parameters) -> Tensor:
    *p, impl = parameters
    order = memory_order(x)
    if not x.numel():
        return like_rows(x, order)
    rows = grad.permute(order).reshape(x.size(0), -1)
    return from_rows(dispatch.get(NAME, impl).backward(rows, as_rows(x, order), Parameters(*p)), x, order)


def _setup_context(ctx, inputs, output) -> None:
    x, *ctx.parameters = inputs
    ctx.save_for_backward(x)


def _autograd_backward(ctx, grad: Tensor):
    (x,) = ctx.saved_tensors
    return _BACKWARD(grad, x, *ctx.parameters), *[None] * len(ctx.parameters)


_PARAMETERS = ('float? tau, bool decay_input, float v_threshold, float? v_reset, bool detach_reset, str surrogate, '
               'float alpha, bool signed, str impl')
_OP = Op(f'lif(Tensor x, {_PARAMETERS}) -> Tensor', _forward, lambda x, *_: like_rows(x, memory_order(x)),
         _autograd_backward, _setup_context)
_BACKWARD = Op(f'lif_bwd(Tensor grad, Tensor x, {_PARAMETERS}) -> Tensor', _backward,
               lambda grad, x, *_: like_rows(x, memory_order(x)))
