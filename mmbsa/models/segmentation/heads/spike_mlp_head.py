"""Spiking MLP head, based on that of SegFormer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmbsa.models.layers import SpikeConv
from mmbsa.models.segmentation.heads.base import SpikeDecodeHead, resize
from mmbsa.registry import MODELS


@MODELS.register_module()
class SpikeMLPHead(SpikeDecodeHead):
    """Spiking version of SegFormer's all-MLP head (NeurIPS 2021) **[ours]**; the readout is the
    mean of the logits over T.

    Data flow, every unit is neuron -> 1x1 conv -> norm::

        map i --unit--> bilinear to the finest size --concatenate--> unit
        --neuron, dropout, 1x1 conv--> logits

    Args:
        kwargs: arguments of :class:`SpikeDecodeHead`.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.projections = nn.ModuleList(
            SpikeConv(width, self.channels, 1, **self.unit) for width in self.in_channels
        )
        self.fusion = SpikeConv(
            self.channels * len(self.in_channels), self.channels, 1, **self.unit
        )

    def fuse_maps(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return membrane potentials (T, B, channels, H_0, W_0) for maps (T, B, C_i, H_i, W_i),
        fine to coarse."""
        maps = [
            resize(project(x), inputs[0].shape[-2:], self.align_corners)
            for project, x in zip(self.projections, inputs)
        ]
        return self.fusion(torch.cat(maps, 2))
