"""A tensor class that raises a helpful error if a layer of an mm package gets maps with a time
axis."""

import torch
import torch.nn.functional as F
from torch import Tensor

#: functions that necks and heads of mm packages call first, and that do not support maps (T, B, C,
#: H, W).
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
    """A map (T, B, C, H, W) as a backbone returns it; the result of any operation is a plain
    tensor.

    Raises:
        ValueError: a function of a layer without time axis gets this tensor.
    """

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """Run ``func`` on plain tensors, or raise an error if it is one of ``STOCK``."""
        if func in STOCK and args and isinstance(args[0], cls):
            with torch._C.DisableTorchFunctionSubclass():
                shape = tuple(args[0].shape)
            raise ValueError(
                f'a layer without time axis ({func.__name__}) got a map of shape (T, B, C, H, W) = '
                f'{shape} from a spiking '
                "backbone: set backbone.readout='mean', or put "
                "neck=dict(type='mmbsa.TemporalReadout') in front of "
                'necks and heads of mm packages'
            )
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    def __reduce_ex__(self, protocol):  # saved as a plain tensor, which loads everywhere
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor).__reduce_ex__(protocol)


def mark_time_major(x: Tensor) -> Tensor:
    """Return a map ``x`` (T, B, C, H, W) as a :class:`TimeMajorMap`; during compilation and export,
    and for fake tensors, return it unchanged."""
    if type(x) is not Tensor or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return x
    return x.as_subclass(TimeMajorMap)
