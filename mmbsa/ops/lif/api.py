"""The public leaky integrate-and-fire op, its registration with ``torch.library``, and the checks
of its arguments."""

import math
from typing import Any

from torch import Tensor

from mmbsa.ops import dispatch, triton_support
from mmbsa.ops.layout import layout_of
from mmbsa.ops.lif import launch, native, reference
from mmbsa.ops.lif.common import SURROGATES, Parameters
from mmbsa.ops.registration import CustomOp, batch_first, working_dtype

NAME = 'lif'

dispatch.register(
    NAME,
    dispatch.Implementation(
        'triton',
        launch.forward,
        launch.backward,
        missing=triton_support.missing,
        refuses=launch.refuses,
        slower=launch.slower,
    ),
)
dispatch.register(
    NAME,
    dispatch.Implementation(
        'native', native.forward, native.backward, missing=native.missing, refuses=native.refuses
    ),
)
dispatch.register(NAME, dispatch.Implementation('reference', reference.forward, reference.backward))


def lif(
    x: Tensor,
    v0: Tensor | float | None = None,
    *,
    tau: float | None = 2.0,
    decay_input: bool = True,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    detach_reset: bool = False,
    surrogate: str = 'sigmoid',
    alpha: float = 4.0,
    signed: bool = False,
    impl: str = 'auto',
) -> Tensor | tuple[Tensor, Tensor]:
    """Run leaky integrate-and-fire neurons over T steps; the results equal those of SpikingJelly's
    neurons.

    .. math::
        H[t] &= V[t-1] + (X[t] - (V[t-1] - V_{reset})) / \\tau \\\\
        S[t] &= [H[t] >= V_{th}] - [H[t] <= -V_{th}] \\\\
        V[t] &= V_{reset} \\text{ where } S[t] \\ne 0, H[t] \\text{ elsewhere}

    Only signed neurons have the second term of S (TSN, BSA eqs. 9-11). A soft reset is V[t] = H[t]
    - V_th S[t].

    Without ``v0`` the neurons start from rest and the spikes are the only result. With ``v0`` the
    membrane potential after the last step is returned too. As the ``v0`` of the next call it
    continues the sequence: T calls with one step each give the bits of one call with T steps.
    ``v0`` and the last membrane potential have gradients.

    Membrane potentials are float32 (float64 for float64 inputs). Only x and v0 are saved for
    backward. Channels-last tensors and equal steps (expanded, stride 0) are read without a copy;
    steps with gaps in memory are copied.

    Args:
        x: input current (T, *), floating.
        v0: membrane potential before the first step: a floating tensor (*) with the shape of x[0]
            on the device of x, or one number for all neurons. None (default) is the rest potential,
            and no membrane potential is returned.
        tau: time constant of the membrane in steps, at least 1; default 2. None integrates without
            a leak (IF): H[t] = V[t-1] + X[t].
        decay_input: whether the input is divided by tau too (default True); otherwise H[t] = V[t-1]
            - (V[t-1] - V_reset)/tau + X[t].
        v_threshold: threshold, positive; default 1.
        v_reset: rest potential, and the potential after a spike; default 0. None subtracts the
            threshold after a spike (soft reset), with rest at 0.
        detach_reset: whether the reset has no gradient; default False.
        surrogate: surrogate gradient: ``'sigmoid'`` (default), ``'atan'``,
            ``'piecewise_quadratic'`` or ``'rect'``, as SpikingJelly defines them.
        alpha: sharpness of the surrogate gradient, positive; default 4.
        signed: whether spikes are ternary {-1, 0, 1} instead of binary; default False.
        impl: ``'auto'`` (default) or one of ``implementations('lif')``.

    Returns:
        Spikes (T, *) in the dtype of x; every step has the memory layout of x, or is contiguous if
        x was copied. With ``v0``: a tuple (spikes, v); v (*) is the membrane potential after the
        last step, float64 for float64 inputs and float32 for all others.

    Raises:
        ValueError: x has no step or is not floating, the shape, dtype or device of v0 does not
            match x, or a parameter is out of range; the message names the argument.
        RuntimeError: the implementation ``impl`` does not support this call; the message gives the
            reason.
    """
    if x.dim() < 1 or x.size(0) < 1 or not x.is_floating_point():
        raise ValueError(
            f'{NAME}: x must be floating and (T, *) with T >= 1, got {x.dtype} {tuple(x.shape)}'
        )
    if tau is not None and not tau >= 1:
        raise ValueError(f'{NAME}: tau must be at least 1 or None, got {tau}')
    for name, value in (('v_threshold', v_threshold), ('alpha', alpha)):
        if not 0 < value < math.inf:
            raise ValueError(f'{NAME}: {name} must be positive and finite, got {value}')
    if v_reset is not None and not (-v_threshold if signed else -math.inf) < v_reset < v_threshold:
        raise ValueError(
            f'{NAME}: v_reset must be less than v_threshold={v_threshold} (and greater than '
            f'-v_threshold if signed), got {v_reset}'
        )
    if surrogate not in SURROGATES:
        raise ValueError(f'{NAME}: surrogate must be one of {SURROGATES}, got {surrogate!r}')
    dispatch.check_name(NAME, impl)
    membrane = None if v0 is None else _membrane(x, v0)
    spikes, v = _OP(
        x,
        membrane,
        tau,
        decay_input,
        v_threshold,
        v_reset,
        detach_reset,
        surrogate,
        alpha,
        signed,
        impl,
    )
    return spikes if v0 is None else (spikes, v)


def ternary_lif(
    x: Tensor, v0: Tensor | float | None = None, **kwargs
) -> Tensor | tuple[Tensor, Tensor]:
    """Run :func:`lif` with ternary spikes {-1, 0, 1}: the ternary spiking neuron TSN (BSA paper,
    eqs. 9-11).

    The arguments are those of :func:`lif` without ``signed``.
    """
    return lif(x, v0, signed=True, **kwargs)


def _membrane(x: Tensor, v0: Tensor | float) -> Tensor:
    """Return ``v0`` as a tensor in the dtype of membrane potentials."""
    dtype = working_dtype(x.dtype)
    if not isinstance(v0, Tensor):
        if not math.isfinite(v0):
            raise ValueError(f'{NAME}: v0 must be finite, got {v0}')
        return x.new_full(x.shape[1:], float(v0), dtype=dtype)
    if v0.shape != x.shape[1:] or not v0.is_floating_point():
        raise ValueError(
            f'{NAME}: v0 must be floating and have the shape of a step of x, '
            f'{tuple(x.shape[1:])}, '
            f'got {v0.dtype} {tuple(v0.shape)}'
        )
    if v0.device != x.device:
        raise ValueError(f'{NAME}: v0 is on {v0.device}, x on {x.device}')
    return v0.to(dtype)


def _fake_forward(x: Tensor, v0: Tensor | None, *_) -> tuple[Tensor, Tensor]:
    """Return uninitialised spikes and the last membrane potential, which is empty if it is not a
    result."""
    layout, dtype = layout_of(x), working_dtype(x.dtype)
    v = x.new_empty(0, dtype=dtype) if v0 is None else layout.empty_step(x, dtype)
    return layout.empty(x), v


def _fake_backward(
    grad: Tensor, grad_v: Tensor, x: Tensor, v0: Tensor | None, *_
) -> tuple[Tensor, Tensor]:
    return _fake_forward(x, v0)


def _forward(x: Tensor, v0: Tensor | None, *parameters) -> tuple[Tensor, Tensor]:
    *p, impl = parameters
    entry = dispatch.choose(NAME, impl, x)
    spikes, v = _fake_forward(x, v0)
    if x.numel():
        layout = layout_of(x)
        first, last = (None, None) if v0 is None else (layout.row(v0), layout.row(v))
        entry.forward(layout.rows(x), first, layout.rows(spikes), last, Parameters(*p))
    return spikes, v


def _backward(
    grad: Tensor, grad_v: Tensor, x: Tensor, v0: Tensor | None, *parameters
) -> tuple[Tensor, Tensor]:
    *p, impl = parameters
    entry = dispatch.choose(NAME, impl, x)
    grad_x, grad_v0 = _fake_forward(x, v0)
    if x.numel():
        layout = layout_of(x)
        states = (None,) * 3 if v0 is None else [layout.row(v) for v in (grad_v, v0, grad_v0)]
        rows = grad.permute(layout.order).reshape(x.size(0), -1)
        entry.backward(
            rows,
            states[0],
            layout.rows(x),
            states[1],
            layout.rows(grad_x),
            states[2],
            Parameters(*p),
        )
    return grad_x, grad_v0


def _setup_context(ctx, inputs, output) -> None:
    x, v0, *ctx.parameters = inputs
    if v0 is None:
        ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x, v0)


def _autograd_backward(ctx, grad: Tensor, grad_v: Tensor):
    x, v0 = ctx.saved_tensors
    grad_x, grad_v0 = _BACKWARD(grad, grad_v, x, v0, *ctx.parameters)
    return grad_x, None if v0 is None else grad_v0, *[None] * len(ctx.parameters)


def _vmap_forward(info, in_dims, x: Tensor, v0: Tensor | None, *parameters):
    """Compute a batch as one more dimension after T, because the neurons are independent."""
    first: Any = batch_first(info, in_dims, x, v0)
    x, v0 = first
    results = _OP.registered(x.transpose(0, 1), v0, *parameters)
    return results, (1, None if v0 is None else 0)


def _vmap_backward(
    info, in_dims, grad: Tensor, grad_v: Tensor, x: Tensor, v0: Tensor | None, *parameters
):
    first: Any = batch_first(info, in_dims, grad, grad_v, x, v0)
    grad, grad_v, x, v0 = first
    results = _BACKWARD.registered(grad.transpose(0, 1), grad_v, x.transpose(0, 1), v0, *parameters)
    return results, (1, None if v0 is None else 0)


_PARAMETERS = (
    'float? tau, bool decay_input, float v_threshold, float? v_reset, '
    'bool detach_reset, str surrogate, float alpha, bool signed, str impl'
)
_OP = CustomOp(
    f'lif(Tensor x, Tensor? v0, {_PARAMETERS}) -> (Tensor spikes, Tensor v)',
    _forward,
    _fake_forward,
    _vmap_forward,
    _autograd_backward,
    _setup_context,
)
_BACKWARD = CustomOp(
    f'lif_bwd(Tensor grad, Tensor grad_v, Tensor x, Tensor? v0, {_PARAMETERS}) -> (Tensor, Tensor)',
    _backward,
    _fake_backward,
    _vmap_backward,
)
