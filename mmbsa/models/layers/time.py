"""The time axis: spiking tensors are (T, B, ...), convolutions and norms get (T * B, ...)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbsa.ops.layout import inverse, memory_order
from mmbsa.spiking import carry, is_streaming


def over_steps(reduce: Callable[[Tensor, int], Tensor], x: Tensor) -> Tensor:
    """Apply a reduction over the time axis of (T, *), with the result in the memory layout of a
    step.

    PyTorch reduces a channels-last map with a fifth dimension element by element on CPUs. This is
    23 times slower than a reduction of the same numbers in the order of memory.

    Args:
        reduce: a function such as ``torch.mean``, called as ``reduce(x, 0)``.
        x: time-major tensor (T, *).
    """
    if (
        torch.compiler.is_compiling()
    ):  # a compiler generates its own loops, and cannot sort symbolic strides
        return reduce(x, 0)
    order = memory_order(x)
    return reduce(x.permute(order), 0).permute([place - 1 for place in inverse(order)[1:]])


#: modes of the readout: functions from (T, *) to (*).
TIME_MODES = {
    'mean': lambda x: over_steps(torch.mean, x) if len(x) > 1 else x.squeeze(0),
    'sum': lambda x: over_steps(torch.sum, x) if len(x) > 1 else x.squeeze(0),
    'max': lambda x: over_steps(torch.amax, x) if len(x) > 1 else x.squeeze(0),
    'last': lambda x: (
        x[-1] if len(x) > 1 else x.squeeze(0)
    ),  # the gradient of an index is a tensor of zeros with one copied step
}


def read_time(maps: Sequence[Tensor], mode: str) -> tuple[Tensor, ...]:
    """Remove the time axis of time-major maps (T, B, C_i, H_i, W_i), and return contiguous maps (B,
    C_i, H_i, W_i).

    Args:
        maps: time-major maps.
        mode: a key of ``TIME_MODES``.

    Raises:
        ValueError: a map is not (T, B, C, H, W).
    """
    for index, x in enumerate(maps):
        if x.ndim != 5:
            raise ValueError(
                f'map {index} has shape {tuple(x.shape)}, expected (T, B, C, H, W) from a spiking '
                'backbone '
                'without a readout'
            )
    return tuple(
        TIME_MODES[mode](x).contiguous(memory_format=torch.contiguous_format) for x in maps
    )


def check_steps(x: Tensor, num_steps: int | None, key: str) -> None:
    """Raise ValueError if a neck or head was built for another T than the backbone; single steps of
    a stream are accepted.

    Args:
        x: output (T, *) of the backbone.
        num_steps: T of the neck or head; None accepts every T.
        key: config key of this T, for the message: ``'neck.num_steps'``.
    """
    if num_steps is not None and len(x) != num_steps and not is_streaming():
        raise ValueError(
            f'{key}={num_steps}, but backbone.num_steps={len(x)}: set both to the same T, or '
            f'remove {key}'
        )


def merge_time(x: Tensor) -> Tensor:
    """Return ``x`` (T, B, *) as (T * B, *); it is a view of contiguous and of channels-last
    tensors."""
    return carry(_merged(x), x)


def _merged(x: Tensor) -> Tensor:
    if len(x) > 1:
        return x.flatten(0, 1)
    x = x.squeeze(0)
    if x.dim() == 4 and x.size(0) == 1 and x.stride(0) != x.numel():
        # One image: its first stride has no meaning, but with a small one convolutions treat the
        # map as contiguous.
        last = x.permute(0, 2, 3, 1)
        if last.is_contiguous():
            return last.flatten().view(last.shape).permute(0, 3, 1, 2)
    return x


def split_time(x: Tensor, num_steps: int) -> Tensor:
    """Return a view (T, B, *) of ``x`` (T * B, *), with T = ``num_steps``."""
    return carry(x.unsqueeze(0) if num_steps == 1 else x.unflatten(0, (num_steps, -1)), x)


class _Copies(torch.autograd.Function):
    """Expand (*) to (T, *) without a copy; :func:`over_steps` sums the gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, num_steps: int) -> Tensor:
        return x.expand(num_steps, *x.shape)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx, grad: Tensor):
        return over_steps(torch.sum, grad), None


def copies(x: Tensor, num_steps: int) -> Tensor:
    """Return ``x`` (*) as T = ``num_steps`` equal steps (T, *), an expanded view."""
    if torch.compiler.is_compiling():
        return x.expand(num_steps, *x.shape)
    return _Copies.apply(x, num_steps)


def map_steps(function: Callable[[Tensor, int], Tensor], x: Tensor) -> Tensor:
    """Apply a function of (N, C, H, W) maps to all steps of a time-major map (T, B, C, H, W) at
    once.

    Direct encoding repeats an image T times as an expanded tensor, whose steps share memory. Such
    steps are computed once and expanded again. The results are the same, and the first layers,
    which have the largest maps, cost 1 / T.

    Args:
        function: function of maps and of the number of steps that each map stands for, 1 or T. It
            must treat all images alike and independently, except for batch statistics, see
            :func:`norm_of_copies`.
        x: time-major map (T, B, C, H, W).
    """
    num_steps = len(x)
    if num_steps > 1 and x.stride(0) == 0:
        out = function(x[0], num_steps)
        return copies(out, num_steps)
    return split_time(function(merge_time(x), 1), num_steps)


def _is_batched(x: Tensor) -> bool:
    """Return whether ``torch.vmap`` runs over ``x``; it then has no memory layout of its own."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(x):
        if functorch.is_batchedtensor(x):
            return True
        x = functorch.get_unwrapped(x)
    return False


class _KeepGradLayout(torch.autograd.Function):
    """Identity whose gradient has the strides of the tensor."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        # x.view_as(x) would set other strides of sides of 1, and the next layers would not see that
        # a single map is channels-last.
        return torch.ops.aten.alias(x)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        ctx.strides = output.stride()

    @staticmethod
    def vmap(info, in_dims: tuple, x: Tensor) -> tuple[Tensor, int | None]:
        return torch.ops.aten.alias(x), in_dims[0]

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        if grad.stride() == ctx.strides or _is_batched(grad):
            return grad
        return torch.empty_strided(
            grad.shape, ctx.strides, dtype=grad.dtype, device=grad.device
        ).copy_(grad)


def keep_grad_layout(x: Tensor) -> Tensor:
    """Return a view of ``x`` (any shape) whose gradient gets the strides of ``x``.

    The gradient of a mean over positions, or of a layer of an mm package, is contiguous, and
    residual paths keep this layout. In a channels-last network, PyTorch's batch norm on CPUs is 10
    times slower if its input and the gradient have different layouts. The view keeps the mark of
    ``x``. Compiled graphs, tensors without gradient and expanded tensors are returned unchanged.
    """
    if torch.compiler.is_compiling() or not x.requires_grad or 0 in x.stride():
        return x
    return carry(_KeepGradLayout.apply(x), x)


def normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """Return ``norm(x)`` for maps (N, C, H, W), with correct gradients.

    If N, H or W is 1, torch's batch norm on CPUs (observed in 2.14) treats a contiguous map and its
    channels-last gradient, or the reverse, as one layout, and returns wrong gradients.
    """
    out = norm(x)
    ambiguous = (
        isinstance(norm, _BatchNorm)
        and norm.training
        and out.dim() == 4
        and 1 in (len(out), *out.shape[2:])
    )
    return keep_grad_layout(out) if ambiguous else out


def norm_of_copies(norm: nn.Module, x: Tensor, copies: int) -> Tensor:
    """Return the norm of a batch that contains every image of ``x`` several times, computed from
    ``x`` alone.

    Mean and variance are those of x. The running variance is an unbiased estimate, n / (n - 1)
    times the variance for n values per channel, and is corrected for ``copies * n`` values.

    Args:
        norm: a norm module.
        x: maps (N, C, H, W).
        copies: number of times that each map is in the batch.
    """
    if copies == 1 or not (
        isinstance(norm, _BatchNorm) and norm.training and norm.track_running_stats
    ):
        return normalise(norm, x)
    count = x.numel() // x.size(1)
    if isinstance(norm, nn.SyncBatchNorm) and torch.distributed.is_initialized():
        count *= torch.distributed.get_world_size(norm.process_group)
    if count == 1:  # the variance cannot be estimated from x alone
        return norm(x.repeat(copies, *[1] * (x.dim() - 1)))[: len(x)]
    before = norm.running_var.clone()
    out = normalise(norm, x)
    momentum = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    kept = before.mul_(1 - momentum)
    # .data, because autograd has saved this buffer, which batch norm's backward does not use in
    # training
    norm.running_var.data.sub_(kept).mul_(copies * (count - 1) / (copies * count - 1)).add_(kept)
    return out


class Timewise(nn.Module):
    """Apply a module of (B, C, H, W) maps, such as a pooling, to every step of a time-major map.

    Args:
        module: the module.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Return (T, B, C', H', W') for an input (T, B, C, H, W)."""
        return map_steps(lambda maps, _: self.module(maps), x)
