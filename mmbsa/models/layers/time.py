"""The time axis: spiking tensors are (T, B, ...); convolutions and norms see (T * B, ...)."""
from torch import Tensor, nn

#: ways of reading time out: (T, *) -> (*).
TIME_MODES = {
    'mean': lambda x: x.mean(0) if len(x) > 1 else x[0],
    'sum': lambda x: x.sum(0) if len(x) > 1 else x[0],
    'max': lambda x: x.amax(0) if len(x) > 1 else x[0],
    'last': lambda x: x[-1],
}


def merge_time(x: Tensor) -> Tensor:
    """(T, B, *) -> (T * B, *), a view of contiguous and of channels-last maps."""
    return x.flatten(0, 1)


def split_time(x: Tensor, num_steps: int) -> Tensor:
    """(T * B, *) -> (T, B, *), a view."""
    return x.unflatten(0, (num_steps, -1))


class Timewise(nn.Module):
    """Apply a module of (B, C, H, W) maps, such as a pooling, to every step of a time-major map."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, H, W) -> (T, B, C', H', W')."""
        return split_time(self.module(merge_time(x)), len(x))
