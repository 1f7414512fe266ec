"""Inference without norms: batch norms folded into the convolutions before them."""

from copy import deepcopy

from torch import nn

from mmbsa.models.layers.haar import NormedMap
from mmbsa.models.layers.rep_conv import RepConv
from mmbsa.models.layers.spike_conv import SpikeConv


def fuse(model: nn.Module, merge: bool = False) -> nn.Module:
    """A copy of a model for inference: the same outputs up to rounding, fewer passes over memory.

    Rounding may move a membrane across its threshold where it is within rounding of it.

    Args:
        model: any module; its ``SpikeConv``, ``RepConv`` and ``NormedMap`` units are fused, the
            rest stays as it is.
        merge: make every ``RepConv`` the one dense convolution that it is equivalent to, as on
            neuromorphic hardware, where every spike then costs one addition per weight. On CPUs and
            GPUs the dense k x k convolution of C to C' channels is more work than the chain, so the
            default only folds the norms.

    Returns:
        The copy, in eval mode, without gradients.
    """
    model = deepcopy(model).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, SpikeConv | NormedMap):
            module.fuse()
        elif isinstance(module, RepConv):
            module.fuse(merge)
    return model
