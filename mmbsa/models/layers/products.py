"""Products of spikes that keep spikes as bytes for their backward."""

import torch
from torch import Tensor

from mmbsa.ops.bytes import from_bytes
from mmbsa.ops.registration import Differentiable
from mmbsa.spiking import bytes_of


def is_transformed() -> bool:
    """Return whether a graph is traced or exported, or a function transform (``torch.func``)
    runs."""
    return (
        torch.jit.is_tracing()
        or torch.compiler.is_exporting()
        or torch._C._are_functorch_transforms_active()
    )


def keeps_bytes(x: Tensor) -> tuple[Tensor, float] | None:
    """Return :func:`mmbsa.spiking.bytes_of` of ``x`` if a layer may keep the bytes, otherwise None.

    The result is None without gradients, in tracing and exporting, and in function transforms
    (``torch.func``).
    """
    return bytes_of(x) if torch.is_grad_enabled() and not is_transformed() else None


def without_autocast(function, *operands: Tensor | None, options: tuple = ()):
    """Compute ``function(*operands, *options)`` without autocast, with the operands cast as
    autocast would cast them."""
    device = operands[0].device.type
    if not torch.is_autocast_enabled(device):
        return function(*operands, *options)
    dtype = torch.get_autocast_dtype(device)
    operands = [
        x.to(dtype) if x is not None and x.is_floating_point() and x.dtype != torch.float64 else x
        for x in operands
    ]
    with torch.autocast(device, enabled=False):
        return function(*operands, *options)


def unpack(counts: Tensor, unit: float, spikes: torch.dtype, dtype: torch.dtype) -> Tensor:
    """Convert int8 counts to the spikes of the dtype ``spikes``, and cast these to ``dtype``.

    Args:
        counts: int8 counts of any shape.
        unit: value of one spike.
        spikes: dtype in which the spikes were computed.
        dtype: dtype of the result.
    """
    return from_bytes(counts, unit, spikes).to(dtype)


class _OnceOnly(torch.autograd.Function):
    """The autograd function of :func:`once_only`."""

    @staticmethod
    def forward(ctx, x: Tensor, other: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor):
        raise NotImplementedError(
            'a product of spikes that are kept as bytes has no second derivative; '
            'set MMBSA_SPIKE_BYTES=0 in the environment, or use torch.func (grad of grad)'
        )


def once_only(x: Tensor, other: Tensor) -> Tensor:
    """Return ``x``, spikes that were converted from bytes, so that second derivatives raise an
    error.

    Args:
        x: the spikes.
        other: the other operand; if it requires a gradient, a second derivative through x raises
            NotImplementedError.
    """
    return _OnceOnly.apply(x, other)


class _Product(torch.autograd.Function):
    """a * b, or a @ b without broadcasting; each operand that has bytes is kept as bytes."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, kept_a: Tensor | None, kept_b: Tensor | None, *options):
        return a @ b if options[0] else a * b

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        a, b, kept_a, kept_b, ctx.matrices, *ctx.units = inputs
        ctx.shapes, ctx.dtypes = (a.shape, b.shape), (a.dtype, b.dtype)
        ctx.save_for_backward(
            a if kept_a is None else kept_a,
            b if kept_b is None else kept_b,
        )

    @staticmethod
    def backward(ctx, grad: Tensor):
        a, b = (
            x if unit is None else unpack(x, *unit, dtype)
            for x, unit, dtype in zip(ctx.saved_tensors, ctx.units, ctx.dtypes)
        )
        if torch.is_grad_enabled():
            a, b = (x if unit is None else once_only(x, grad) for x, unit in zip((a, b), ctx.units))
        grads = [None, None]
        if ctx.needs_input_grad[0]:
            grads[0] = grad @ b.transpose(-1, -2) if ctx.matrices else grad * b
        if ctx.needs_input_grad[1]:
            grads[1] = a.transpose(-1, -2) @ grad if ctx.matrices else grad * a
        grads = [g if g is None else g.sum_to_size(shape) for g, shape in zip(grads, ctx.shapes)]
        return *grads, None, None, None, None, None


_PRODUCT = Differentiable(_Product)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Return a * b with torch's broadcasting; spikes are kept as bytes for the backward."""
    return _product(a, b, False)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Return the matrix product of a (..., n, m) and b (..., m, k); spikes are kept as bytes for
    the backward.

    The leading dimensions of a and b must be equal.
    """
    return _product(a, b, True)


def _product(a: Tensor, b: Tensor, matrices: bool) -> Tensor:
    kept = keeps_bytes(a), keeps_bytes(b)
    if kept == (None, None):
        return a @ b if matrices else a * b
    counts = [None if k is None else k[0] for k in kept]
    units = [None if k is None else (k[1], x.dtype) for k, x in zip(kept, (a, b))]
    options = (*counts, matrices, *units)
    if matrices:
        return without_autocast(_PRODUCT, a, b, options=options)
    return _PRODUCT(a, b, *options)
