"""Mixed precision of training on processors that compute in bfloat16."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmbsa.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """:class:`mmengine.optim.OptimWrapper` with forwards under autocast to bfloat16 on the CPU.

    bfloat16 has the exponents of float32, so no loss is scaled. Parameters, their gradients,
    membranes and the optimizer stay in float32; convolutions, products of matrices and attention
    compute in bfloat16, which holds spikes exactly.

    Args:
        kwargs: of :class:`mmengine.optim.OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of a training step's forward."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
