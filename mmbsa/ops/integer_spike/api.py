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
    return _OP(u, low, float(levels), float(norm), half_up, inclusive, impl)[0]


def _fake_forward(u: Tensor, *_) -> tuple[Tensor, Tensor]:
    layout = layout_of(u)
    return layout.empty(u), layout.empty(u, torch.uint8)


def _fake_backward(grad: Tensor, passing: Tensor, *_) -> Tensor:
    return layout_of(passing).empty(grad)


def _forward(
    u: Tensor, low: float, high: float, norm: float, half_up: bool, inclusive: bool, impl: str
):
    entry = dispatch.choose(NAME, impl, u)
    layout, results = layout_of(u), _fake_forward(u)
    entry.forward(*(layout.rows(x) for x in (u, *results)), low, high, norm, half_up, inclusive)
    return results


def _backward(grad: Tensor, passing: Tensor, norm: float, impl: str) -> Tensor:
    entry = dispatch.choose(NAME, impl, grad)
    layout, grad_u = layout_of(passing), _fake_backward(grad, passing)
    rows = layout.rows(grad)
    entry.backward(rows, layout.rows(passing), layout.rows(grad_u), norm)
    return grad_u


def _setup_context(ctx, inputs, output) -> None:
    _, passing = output
    _, _, _, ctx.norm, _, _, ctx.impl = inputs
    ctx.mark_non_differentiable(passing)
    ctx.set_materialize_grads(False)  # otherwise torch creates zeros for ``passing``
    ctx.save_for_backward(passing)


def _autograd_backward(ctx, grad: Tensor, unused):
    (passing,) = ctx.saved_tensors
    if grad is None:
        return (None,) * 7
    return _BACKWARD(grad, passing, ctx.norm, ctx.impl), *[None] * 6


def _vmap_forward(info, in_dims, u: Tensor, *rest):
    return _OP.registered(*batch_first(info, in_dims, u), *rest), (0, 0)


def _vmap_backward(info, in_dims, grad: Tensor, passing: Tensor, *rest):
    return _BACKWARD.registered(*batch_first(info, in_dims, grad, passing), *rest), 0


_OP = CustomOp(
    'integer_spike(Tensor u, float low, float high, float norm, bool half_up, bool inclusive, '
    'str impl) -> (Tensor spikes, Tensor passing)',
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
