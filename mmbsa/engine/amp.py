"""Mixed precision training on CPUs with bfloat16 instructions."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmbsa.registry import OPTIM_WRAPPERS


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
