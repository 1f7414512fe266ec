"""Products of spikes that keep spikes as bytes for their backward."""

import torch
from torch import Tensor

from mmbsa.ops.bytes import from_bytes
from mmbsa.spiking import bytes_of


def is_transformed() -> bool:
    """Whether a graph is traced or exported, or a transform of functions (``torch.func``) runs."""
    return (
        torch.jit.is_tracing()
        or torch.compiler.is_exporting()
        or torch._C._are_functorch_transforms_active()
    )


def keeps_bytes(x: Tensor) -> tuple[Tensor, float] | None:
    """:func:`mmbsa.spiking.bytes_of` where a layer may keep them; None where no gradient is wanted,
    and under tracing, exporting and transforms of functions (``torch.func``)."""
    return bytes_of(x) if torch.is_grad_enabled() and not is_transformed() else None


def without_autocast(function, *operands: Tensor | None, options: tuple = ()):
    """``function(*operands, *options)`` outside of autocast, its floating operands cast as autocast
    would cast them."""
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
    """Counts -> the spikes that were made in the dtype ``spikes``, cast to ``dtype``."""
    return from_bytes(counts, unit, spikes).to(dtype)


class _OnceOnly(torch.autograd.Function):
    """See :func:`once_only`."""

    @staticmethod
    def forward(ctx, x: Tensor, other: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor):
        raise NotImplementedError(
            'a product of spikes has no second derivative to the spikes, which were kept as bytes; '
            'set MMBSA_SPIKE_BYTES=0 in the environment, or use torch.func (grad of grad)'
        )


def once_only(x: Tensor, other: Tensor) -> Tensor:
    """x, spikes unpacked from bytes; where ``other`` wants a gradient, a second derivative that
    would lead to x raises NotImplementedError."""
    return _OnceOnly.apply(x, other)


class _Product(torch.autograd.Function):
    """a * b, or a @ b without broadcasting; each operand kept as bytes where it has some."""

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


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """a * b, shapes as torch broadcasts them; spikes are kept as bytes for the backward."""
    return _product(a, b, False)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a (..., n, m) @ b (..., m, k) with equal leading sizes; spikes are kept as bytes for the
    backward."""
    return _product(a, b, True)


def _product(a: Tensor, b: Tensor, matrices: bool) -> Tensor:
    kept = keeps_bytes(a), keeps_bytes(b)
    if kept == (None, None):
        return a @ b if matrices else a * b
    counts = [None if k is None else k[0] for k in kept]
    units = [None if k is None else (k[1], x.dtype) for k, x in zip(kept, (a, b))]
    options = (*counts, matrices, *units)
    if matrices:
        return without_autocast(_Product.apply, a, b, options=options)
    return _Product.apply(a, b, *options)
