"""The time axis: spiking tensors are (T, B, ...); convolutions and norms see (T * B, ...)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbsa.ops.layout import inverse, memory_order
from mmbsa.spiking import carry, is_streaming


def over_steps(reduce: Callable[[Tensor, int], Tensor], x: Tensor) -> Tensor:
    """``reduce(x, 0)`` of (T, *) for a reduction such as ``torch.mean``, in the layout of a step.

    PyTorch reduces a channels-last map with a fifth dimension element by element on CPUs, 23 times
    slower than the same numbers shown to it in the order of memory.
    """
    if (
        torch.compiler.is_compiling()
    ):  # a compiler writes loops of its own, and cannot sort strides that are symbols
        return reduce(x, 0)
    order = memory_order(x)
    return reduce(x.permute(order), 0).permute([place - 1 for place in inverse(order)[1:]])


#: ways of reading time out: (T, *) -> (*).
TIME_MODES = {
    'mean': lambda x: over_steps(torch.mean, x) if len(x) > 1 else x.squeeze(0),
    'sum': lambda x: over_steps(torch.sum, x) if len(x) > 1 else x.squeeze(0),
    'max': lambda x: over_steps(torch.amax, x) if len(x) > 1 else x.squeeze(0),
    'last': lambda x: (
        x[-1] if len(x) > 1 else x.squeeze(0)
    ),  # the gradient of an index is zeros with a copy in them
}


def read_time(maps: Sequence[Tensor], mode: str) -> tuple[Tensor, ...]:
    """Time-major maps (T, B, C_i, H_i, W_i) -> contiguous maps (B, C_i, H_i, W_i) for stock necks
    and heads.

    Raises:
        ValueError: a map that is not (T, B, C, H, W).
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
    """Raise ValueError if a part was built for another T than the backbone; single steps of a
    stream are accepted.

    Args:
        x: (T, *) from the backbone.
        num_steps: T of the part, None if it was not told one.
        key: of the part's T in the config, for the message: ``'neck.num_steps'``.
    """
    if num_steps is not None and len(x) != num_steps and not is_streaming():
        raise ValueError(
            f'{key}={num_steps}, but backbone.num_steps={len(x)}: set both to the same T, or leave '
            f'{key} out'
        )


def merge_time(x: Tensor) -> Tensor:
    """(T, B, *) -> (T * B, *), a view of contiguous and of channels-last maps."""
    return carry(_merged(x), x)


def _merged(x: Tensor) -> Tensor:
    if len(x) > 1:
        return x.flatten(0, 1)
    x = x.squeeze(0)
    if x.dim() == 4 and x.size(0) == 1 and x.stride(0) != x.numel():
        # One image: its first stride says nothing, but convolutions take a map for contiguous if it
        # is a small one.
        last = x.permute(0, 2, 3, 1)
        if last.is_contiguous():
            return last.flatten().view(last.shape).permute(0, 3, 1, 2)
    return x


def split_time(x: Tensor, num_steps: int) -> Tensor:
    """(T * B, *) -> (T, B, *), a view."""
    return carry(x.unsqueeze(0) if num_steps == 1 else x.unflatten(0, (num_steps, -1)), x)


class _Copies(torch.autograd.Function):
    """(*) -> (T, *), T times the same memory; the gradient is summed by :func:`over_steps`."""

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
    """Show x (*) to T steps as (T, *), an expanded view."""
    if torch.compiler.is_compiling():
        return x.expand(num_steps, *x.shape)
    return _Copies.apply(x, num_steps)


def map_steps(function: Callable[[Tensor, int], Tensor], x: Tensor) -> Tensor:
    """Apply a function of (N, C, H, W) maps to all steps of (T, B, C, H, W) at once.

    Direct encoding shows the first layers one image T times: an expanded tensor, whose steps are
    one memory. Such steps are computed once and expanded again, which changes no result and saves T
    - 1 of T parts of the largest maps of a network.

    Args:
        function: from a map and the number of steps that it stands for, 1 or T; it must treat
            images alike and apart, but for batch statistics, see :func:`norm_of_copies`.
        x: time-major map.
    """
    num_steps = len(x)
    if num_steps > 1 and x.stride(0) == 0:
        out = function(x[0], num_steps)
        return copies(out, num_steps)
    return split_time(function(merge_time(x), 1), num_steps)


class _GradAsLaid(torch.autograd.Function):
    """Identity; the gradient comes back with the strides of the tensor."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        ctx.strides = output.stride()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        if grad.stride() == ctx.strides:
            return grad
        return torch.empty_strided(
            grad.shape, ctx.strides, dtype=grad.dtype, device=grad.device
        ).copy_(grad)


def normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """``norm(x)`` of maps (N, C, H, W), with right gradients.

    Where N, H or W is 1, torch's batch norm on CPUs (seen in 2.14) takes a contiguous map and its
    channels-last gradient, or the reverse, for one layout, and returns wrong gradients.
    """
    out = norm(x)
    ambiguous = (
        isinstance(norm, _BatchNorm)
        and norm.training
        and out.dim() == 4
        and 1 in (len(out), *out.shape[2:])
    )
    if ambiguous and out.requires_grad and not torch.compiler.is_compiling():
        return _GradAsLaid.apply(out)
    return out


def norm_of_copies(norm: nn.Module, x: Tensor, copies: int) -> Tensor:
    """The norm of a batch that holds every image of x ``copies`` times, computed from x.

    Mean and variance are those of x. The running variance is an unbiased estimate, n / (n - 1)
    times the variance for n values per channel, and is put right for ``copies * n`` values.
    """
    if copies == 1 or not (
        isinstance(norm, _BatchNorm) and norm.training and norm.track_running_stats
    ):
        return normalise(norm, x)
    count = x.numel() // x.size(1)
    if isinstance(norm, nn.SyncBatchNorm) and torch.distributed.is_initialized():
        count *= torch.distributed.get_world_size(norm.process_group)
    if count == 1:  # no variance to estimate from x alone
        return norm(x.repeat(copies, *[1] * (x.dim() - 1)))[: len(x)]
    before = norm.running_var.clone()
    out = normalise(norm, x)
    momentum = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    kept = before.mul_(1 - momentum)
    # .data: autograd saved this buffer, though batch norm's backward does not use it in training
    norm.running_var.data.sub_(kept).mul_(copies * (count - 1) / (copies * count - 1)).add_(kept)
    return out


class Timewise(nn.Module):
    """Apply a module of (B, C, H, W) maps, such as a pooling, to every step of a time-major map."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, H, W) -> (T, B, C', H', W')."""
        return map_steps(lambda maps, _: self.module(maps), x)
