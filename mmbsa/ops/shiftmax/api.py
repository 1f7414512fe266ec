"""The public Shiftmax function, its registration with ``torch.library``, and the checks of its
arguments."""

import torch
from torch import Tensor

from mmbsa.ops import dispatch
from mmbsa.ops.registration import CustomOp, batch_first, working_dtype
from mmbsa.ops.shiftmax import reference

GRADS = ('ste', 'detach')

dispatch.register(
    'shiftmax', dispatch.Implementation('reference', reference.forward, reference.backward)
)


def shiftmax(x: Tensor, dim: int = -1, grad: str = 'ste', impl: str = 'auto') -> Tensor:
    """Return Shiftmax(x)_j = 2^(x_j - g), g = ceil(log2 sum_i 2^x_i) (BSA paper, eqs. 13-15).

    For integer scores of any size every weight is an exact power of two (within the range of the
    result's dtype), and g is the result of exact integer arithmetic; the sum of a row is in (1/2,
    1]. For real scores the formula is the same, and g is computed in float64. A score of -inf gets
    the weight 0; a row of -inf only gives NaN, as in softmax.

    Args:
        x: scores of any shape, floating or integer; integers give the default float dtype.
        dim: the dimension that is normalised; default -1.
        grad: gradient rule. ``'ste'`` (default) uses a straight-through gradient of the ceil: dx_j
            = ln2 S_j (dS_j - sum_i p_i dS_i), p the base-2 softmax [ours]. ``'detach'`` treats g as
            a constant: dx_j = ln2 S_j dS_j [ours].
        impl: ``'auto'`` (default) or one of ``implementations('shiftmax')``.

    Returns:
        Weights with the shape of x.

    Raises:
        ValueError: x is not a real tensor, x has no dimension ``dim``, this dimension is empty, or
            an option is unknown.
    """
    if x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f'shiftmax: x must be floating or integer, got {x.dtype}')
    if not -x.dim() <= dim < x.dim():
        raise ValueError(f'shiftmax: dim {dim} is out of range for x of shape {tuple(x.shape)}')
    if x.size(dim) == 0:
        raise ValueError(f'shiftmax: dimension {dim} of x is empty; x has shape {tuple(x.shape)}')
    if grad not in GRADS:
        raise ValueError(f'shiftmax: grad must be one of {GRADS}, got {grad!r}')
    dispatch.check_name('shiftmax', impl)
    return _OP(x, dim, grad, impl)


def _result_dtype(x: Tensor) -> torch.dtype:
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()


def _forward(x: Tensor, dim: int, grad: str, impl: str) -> Tensor:
    dtype = _result_dtype(x)
    if x.is_floating_point():
        x = x.to(working_dtype(dtype))
    weight = dispatch.choose('shiftmax', impl, x).forward(x.movedim(dim, -1))
    return torch.empty(x.shape, dtype=dtype, device=x.device).copy_(weight.movedim(-1, dim))


def _backward(grad_out: Tensor, weight: Tensor, dim: int, grad: str, impl: str) -> Tensor:
    dtype = working_dtype(weight.dtype)
    rows = [t.to(dtype).movedim(dim, -1) for t in (grad_out, weight)]
    result = dispatch.choose('shiftmax', impl, weight).backward(*rows, grad)
    return torch.empty(weight.shape, dtype=weight.dtype, device=weight.device).copy_(
        result.movedim(-1, dim)
    )


def _fake_forward(x: Tensor, dim: int, grad: str, impl: str) -> Tensor:
    return torch.empty(x.shape, dtype=_result_dtype(x), device=x.device)


def _fake_backward(grad_out: Tensor, weight: Tensor, dim: int, grad: str, impl: str) -> Tensor:
    return torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)


def _setup_context(ctx, inputs, output) -> None:
    _, ctx.dim, ctx.grad, ctx.impl = inputs
    ctx.save_for_backward(output)


def _autograd_backward(ctx, grad_out: Tensor):
    (weight,) = ctx.saved_tensors
    return _BACKWARD(grad_out, weight, ctx.dim, ctx.grad, ctx.impl), None, None, None


def _vmap_forward(info, in_dims, x: Tensor, dim: int, grad: str, impl: str):
    return _OP.registered(
        *batch_first(info, in_dims, x), dim + 1 if dim >= 0 else dim, grad, impl
    ), 0


def _vmap_backward(info, in_dims, grad_out: Tensor, weight: Tensor, dim: int, grad: str, impl: str):
    tensors = batch_first(info, in_dims, grad_out, weight)
    return _BACKWARD.registered(*tensors, dim + 1 if dim >= 0 else dim, grad, impl), 0


_OP = CustomOp(
    'shiftmax(Tensor x, int dim, str grad, str impl) -> Tensor',
    _forward,
    _fake_forward,
    _vmap_forward,
    _autograd_backward,
    _setup_context,
)
_BACKWARD = CustomOp(
    'shiftmax_bwd(Tensor grad_out, Tensor weight, int dim, str grad, str impl) -> Tensor',
    _backward,
    _fake_backward,
    _vmap_backward,
)
