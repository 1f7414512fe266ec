"""An error that names the cure where a stock layer meets maps with a time axis."""

import torch
import torch.nn.functional as F
from torch import Tensor

#: functions that stock necks and heads call first, and that maps (T, B, C, H, W) do not fit.
STOCK = {
    F.conv2d,
    torch.conv2d,
    F.batch_norm,
    F.interpolate,
    F.adaptive_avg_pool2d,
    F.adaptive_max_pool2d,
    F.max_pool2d,
    F.avg_pool2d,
    F.linear,
}


class TimeMajorMap(Tensor):
    """A map (T, B, C, H, W) as it leaves a backbone; the result of any operation is a plain tensor.

    Raises:
        ValueError: a function of stock layers is called with it.
    """

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """Run ``func`` on plain tensors, unless it is one of ``STOCK``."""
        if func in STOCK and args and isinstance(args[0], cls):
            with torch._C.DisableTorchFunctionSubclass():
                shape = tuple(args[0].shape)
            raise ValueError(
                f'a stock layer ({func.__name__}) was given a map of shape (T, B, C, H, W) = '
                f'{shape} from a spiking '
                "backbone: set backbone.readout='mean', or put "
                "neck=dict(type='mmbsa.TemporalReadout') in front of "
                'stock necks and heads'
            )
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    def __reduce_ex__(self, protocol):  # saved as a plain tensor, which loads everywhere
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor).__reduce_ex__(protocol)


def mark_time_major(x: Tensor) -> Tensor:
    """Show a map to stock layers as one with a time axis; compilers, exports and fake tensors are
    left as they are."""
    if type(x) is not Tensor or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return x
    return x.as_subclass(TimeMajorMap)
