"""Fold batch norms into convolutions for inference."""

from copy import deepcopy

from torch import nn

from mmbsa.models.layers.haar import NormedMap
from mmbsa.models.layers.rep_conv import RepConv
from mmbsa.models.layers.spike_conv import SpikeConv


def fuse(model: nn.Module, merge: bool = False) -> nn.Module:
    """Return a copy of a model for inference, with batch norms folded into convolutions.

    Outputs are the same up to rounding. A membrane potential very close to its threshold may give
    another spike.

    Args:
        model: any module; its ``SpikeConv``, ``RepConv`` and ``NormedMap`` units are fused, all
            other modules are unchanged.
        merge: whether every ``RepConv`` becomes the one dense convolution that is equivalent to it;
            on neuromorphic hardware a spike then costs one addition per weight. On CPUs and GPUs
            the dense k x k convolution from C to C' channels needs more operations than the chain,
            so the default False only folds the norms.

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
