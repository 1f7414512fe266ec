"""The public integer spike function, its registration with ``torch.library``, and the checks of its
arguments."""

import torch
from torch import Tensor

from mmbsa.ops import dispatch
from mmbsa.ops.integer_spike import native, reference
from mmbsa.ops.layout import layout_of
from mmbsa.ops.registration import CustomOp, batch_first

NAME = 'integer_spike'

dispatch.register(
    NAME,
    dispatch.Implementation(
        'native', native.forward, native.backward, missing=native.missing, refuses=native.refuses
    ),
)
dispatch.register(NAME, dispatch.Implementation('reference', reference.forward, reference.backward))


def integer_spike(
    u: Tensor,
    levels: int,
    *,
    signed: bool = False,
    norm: float = 1.0,
    half_up: bool = False,
    inclusive: bool = True,
    impl: str = 'auto',
) -> Tensor:
    """Return round(clip(u, low, D)) / norm with a straight-through gradient (I-LIF, Luo et al.,
    ECCV 2024).

    The gradient is 1/norm where low <= u <= D and 0 elsewhere. The backward keeps one byte per
    element instead of u.

    Args:
        u: membrane potential of any shape with at least one dimension, floating.
        levels: D, the largest count, at least 1.
        signed: whether low is -D instead of 0; default False.
        norm: divisor of the counts, positive; default 1.
        half_up: whether one half is rounded up instead of to even; default False.
        inclusive: whether the gradient is 1/norm also at u = low and u = D; default True.
        impl: ``'auto'`` (default) or one of ``implementations('integer_spike')``.

    Returns:
        Spikes with the shape, dtype and memory layout of u; contiguous if the memory of u has gaps
        or overlaps.

    Raises:
        ValueError: u is not floating or has no dimension, ``levels`` < 1 or ``norm`` <= 0.
        RuntimeError: the implementation ``impl`` does not support this call; the message gives the
            reason.
    """
    if u.dim() < 1 or not u.is_floating_point():
        raise ValueError(
            f'{NAME}: u must be floating and have a dimension, got {u.dtype} {tuple(u.shape)}'
        )
    if levels < 1 or not norm > 0:
        raise ValueError(
            f'{NAME}: levels must be at least 1 and norm positive, got {levels} and {norm}'
        )
    low = -float(levels) if signed else 0.0
    dispatch.check_name(NAME, impl)
    keep = int(torch.is_grad_enabled())
    return _OP(u, low, float(levels), float(norm), half_up, inclusive, impl, keep)[0]


def spikes_and_counts(
    u: Tensor, levels: int, *, signed: bool, norm: float, half_up: bool, inclusive: bool
) -> tuple[Tensor, Tensor]:
    """Return the result of :func:`integer_spike` and its counts as int8, from one pass over ``u``.

    Args:
        u: as in :func:`integer_spike`; its arguments are not checked here.
        levels: D, at most 127.
        signed: as in :func:`integer_spike`.
        norm: as in :func:`integer_spike`.
        half_up: as in :func:`integer_spike`.
        inclusive: as in :func:`integer_spike`.
    """
    low = -float(levels) if signed else 0.0
    spikes, _, counts = _OP(u, low, float(levels), norm, half_up, inclusive, 'auto', 2)
    return spikes, counts


def _fake_forward(u: Tensor, *rest) -> tuple[Tensor, Tensor, Tensor]:
    keep = rest[6] if len(rest) > 6 else 1
    layout = layout_of(u)
    return (
        layout.empty(u),
        layout.empty(u, torch.uint8) if keep else u.new_empty(0, dtype=torch.uint8),
        layout.empty(u, torch.int8) if keep == 2 else u.new_empty(0, dtype=torch.int8),
    )


def _fake_backward(grad: Tensor, passing: Tensor, *_) -> Tensor:
    return layout_of(passing).empty(grad)


def _forward(
    u: Tensor,
    low: float,
    high: float,
    norm: float,
    half_up: bool,
    inclusive: bool,
    impl: str,
    keep: int = 1,
):
    entry = dispatch.choose(NAME, impl, u)
    options = low, high, norm, half_up, inclusive
    layout, results = layout_of(u), _fake_forward(u, *options, impl, keep)
    tensors: tuple[Tensor, ...] = (u, *results[: 1 + keep])
    if u.stride() != layout.strides:  # otherwise all have the same dense memory
        tensors = tuple(map(layout.rows, tensors))
    entry.forward(*tensors, *results[1 + keep :], *options, keep)
    return results


def _backward(grad: Tensor, passing: Tensor, norm: float, impl: str) -> Tensor:
    entry = dispatch.choose(NAME, impl, grad)
    layout, grad_u = layout_of(passing), _fake_backward(grad, passing)
    tensors: tuple[Tensor, ...] = (grad, passing, grad_u)
    if not grad.stride() == passing.stride() == layout.strides:
        tensors = tuple(map(layout.rows, tensors))
    entry.backward(*tensors, norm)
    return grad_u


def _setup_context(ctx, inputs, output) -> None:
    _, passing, counts = output
    ctx.norm, ctx.impl = inputs[3], inputs[6]
    ctx.mark_non_differentiable(passing, counts)
    ctx.set_materialize_grads(False)  # otherwise torch creates zeros for ``passing``
    ctx.save_for_backward(passing)


def _autograd_backward(ctx, grad: Tensor, *unused):
    (passing,) = ctx.saved_tensors
    if grad is None:
        return (None,) * 8
    return _BACKWARD(grad, passing, ctx.norm, ctx.impl), *[None] * 7


def _vmap_forward(info, in_dims, u: Tensor, *rest):
    keep = rest[6] if len(rest) > 6 else 1
    dims = 0, 0 if keep else None, 0 if keep == 2 else None
    return _OP.registered(*batch_first(info, in_dims, u), *rest), dims


def _vmap_backward(info, in_dims, grad: Tensor, passing: Tensor, *rest):
    return _BACKWARD.registered(*batch_first(info, in_dims, grad, passing), *rest), 0


_OP = CustomOp(
    'integer_spike(Tensor u, float low, float high, float norm, bool half_up, bool inclusive, '
    'str impl, int keep=1) -> (Tensor spikes, Tensor passing, Tensor counts)',
    _forward,
    _fake_forward,
    _vmap_forward,
    _autograd_backward,
    _setup_context,
)
_BACKWARD = CustomOp(
    'integer_spike_bwd(Tensor grad, Tensor passing, float norm, str impl) -> Tensor',
    _backward,
    _fake_backward,
    _vmap_backward,
)
