"""Mixed precision on CPUs with bfloat16 instructions."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from torch import nn

from mmbsa.registry import HOOKS, OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """:class:`mmengine.optim.OptimWrapper` with forwards under autocast to bfloat16 on the CPU.

    bfloat16 has the same exponent range as float32, so the loss is not scaled. Parameters, their
    gradients, membranes and the optimizer use float32; convolutions, matrix products and attention
    use bfloat16, which represents spikes exactly.

    Args:
        kwargs: arguments of :class:`mmengine.optim.OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Return the context of the forward in a training step."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield


@HOOKS.register_module()
class Float32HeadsHook(Hook):
    """Convert the outputs of a model's heads to float32, in training, validation and test.

    Packages of OpenMMLab compute anchors, boxes and metrics in the dtype of these outputs. bfloat16
    has steps of 2 pixels between 256 and 512, and numpy does not have it. Heads are the modules
    whose names end with ``head``, and ``conv_seg`` of segmentors.
    """

    def before_run(self, runner) -> None:
        """Register the conversion once for every head."""
        for name, module in runner.model.named_modules():
            words = [word for word in name.split('.') if not word.isdecimal()]  # items of lists
            if words and (words[-1].endswith('head') or words[-1] == 'conv_seg'):
                module.register_forward_hook(_to_float32)


def _to_float32(module: nn.Module, inputs: tuple, outputs):
    return _float32(outputs)


def _float32(x):
    """Convert the 16-bit tensors in nested lists, tuples and dicts to float32."""
    if isinstance(x, torch.Tensor):
        return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    if isinstance(x, dict):
        return type(x)({key: _float32(value) for key, value in x.items()})
    if isinstance(x, tuple) and hasattr(x, '_fields'):
        return type(x)(*map(_float32, x))
    return type(x)(map(_float32, x)) if isinstance(x, list | tuple) else x
