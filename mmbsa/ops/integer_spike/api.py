"""The public integer spike, its registration with ``torch.library``, and its validation."""
import torch
from torch import Tensor

from mmbsa.ops import dispatch
from mmbsa.ops.integer_spike import native, reference
from mmbsa.ops.layout import as_rows, from_rows, like_rows, memory_order
from mmbsa.ops.registration import Op

NAME = 'integer_spike'

dispatch.register(NAME, dispatch.Implementation('native', native.forward, native.backward, missing=native.missing,
                                                refuses=native.refuses))
dispatch.register(NAME, dispatch.Implementation('reference', reference.forward, reference.backward))


def integer_spike(u: Tensor, levels: int, *, signed: bool = False, norm: float = 1., half_up: bool = False,
                  inclusive: bool = True, impl: str = 'auto') -> Tensor:
    """round(clip(u, low, D)) / norm with the gradient of a clipped line (I-LIF, Luo et al., ECCV 2024).

    The gradient is 1/norm where low <= u <= D and 0 elsewhere. What is kept for it is one byte per element, and not u.

    Args:
        u: (*) membrane potential, floating, with at least one dimension.
        levels: D, the largest count, at least 1.
        signed: low is -D instead of 0.
        norm: what counts are divided by, positive.
        half_up: round one half up instead of to even.
        inclusive: whether the gradient passes at both ends of the interval.
        impl: ``'auto'`` or one of ``implementations('integer_spike')``.

    Returns:
        Spikes of u's shape, dtype and layout; contiguous where u has gaps or overlaps itself.

    Raises:
        ValueError: u is not floating, levels < 1 or norm <= 0.
        RuntimeError: the implementation asked for cannot take this call; with the reason.
    """
    if u.dim() < 1 or not u.is_floating_point():
        raise ValueError(f'{NAME}: u must be floating with a dimension, got {u.dtype} {tuple(u.shape)}')
    if levels < 1 or not norm > 0:
        raise ValueError(f'{NAME}: levels must be at least 1 and norm positive, got {levels} and {norm}')
    low = -float(levels) if signed else 0.
    return _OP(u, low, float(levels), float(norm), half_up, inclusive, dispatch.resolve(NAME, impl, u))[0]


def _forward(u: Tensor, low: float, high: float, norm: float, half_up: bool, inclusive: bool, impl: str):
    order = memory_order(u)
    results = dispatch.get(NAME, impl).forward(as_rows(u, order), low, high, norm, half_up, inclusive)
    return tuple(from_rows(rows, u, order) for rows in results)


def _backward(grad: Tensor, passing: Tensor, norm: float, impl: str) -> Tensor:
    order = memory_order(passing)
    rows = as_rows(grad, order)
    return from_rows(dispatch.get(NAME, impl).backward(rows, as_rows(passing, order), norm), passing, order)


def _fake_forward(u: Tensor, *_):
    out = like_rows(u, memory_order(u))
    return out, torch.empty_like(out, dtype=torch.uint8)


def _fake_backward(grad: Tensor, passing: Tensor, *_) -> Tensor:
    return torch.empty_like(like_rows(passing, memory_order(passing)), dtype=grad.dtype)


def _setup_context(ctx, inputs, output) -> None:
    _, passing = output
    _, _, _, ctx.norm, _, _, ctx.impl = inputs
    ctx.mark_non_differentiable(passing)
    ctx.set_materialize_grads(False)  # or zeros would be made for ``passing``
    ctx.save_for_backward(passing)


def _autograd_backward(ctx, grad: Tensor, unused):
    (passing,) = ctx.saved_tensors
    if grad is None:
        return (None,) * 7
    return _BACKWARD(grad, passing, ctx.norm, ctx.impl), *[None] * 6


_OP = Op('integer_spike(Tensor u, float low, float high, float norm, bool half_up, bool inclusive, str impl) '
         '-> (Tensor spikes, Tensor passing)', _forward, _fake_forward, _autograd_backward, _setup_context)
_BACKWARD = Op('integer_spike_bwd(Tensor grad, Tensor passing, float norm, str impl) -> Tensor', _backward, _fake_backward)
