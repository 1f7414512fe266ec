"""Spiking UPer head: pyramid pooling on the coarsest map, then a feature pyramid."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmbsa.models.layers import SpikeConv, Timewise
from mmbsa.models.segmentation.heads.base import SpikeDecodeHead, resize
from mmbsa.registry import MODELS


@MODELS.register_module()
class SpikeUPerHead(SpikeDecodeHead):
    """Spiking version of the UPerNet head (ECCV 2018) **[ours]**; the readout is the mean of the
    logits over T.

    Data flow, every unit is neuron -> conv -> norm::

        coarsest map --pooled to s x s, 1x1 unit, enlarged, for every scale s--> pooled maps
        coarsest map, pooled maps --concatenate, 3x3 unit--> y
        for every finer map, coarse to fine: y = 1x1 unit(map) + bilinear(y)
        every y but the coarsest --3x3 unit--> enlarged, concatenated --3x3 unit-->
        neuron, dropout, 1x1 conv --> logits

    Args:
        pool_scales: sides s of the pooled maps in cells; default (1, 2, 3, 6).
        kwargs: arguments of :class:`SpikeDecodeHead`.
    """

    def __init__(self, pool_scales: Sequence[int] = (1, 2, 3, 6), **kwargs):
        super().__init__(**kwargs)
        *finer, coarsest = self.in_channels
        channels = self.channels
        self.pools = nn.ModuleList(
            nn.Sequential(
                Timewise(nn.AdaptiveAvgPool2d(scale)), SpikeConv(coarsest, channels, 1, **self.unit)
            )
            for scale in pool_scales
        )
        self.bottleneck = SpikeConv(coarsest + len(self.pools) * channels, channels, 3, **self.unit)
        self.laterals = nn.ModuleList(SpikeConv(width, channels, 1, **self.unit) for width in finer)
        self.outputs = nn.ModuleList(SpikeConv(channels, channels, 3, **self.unit) for _ in finer)
        self.fusion = SpikeConv(channels * len(self.in_channels), channels, 3, **self.unit)

    def fuse_maps(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return membrane potentials (T, B, channels, H_0, W_0) for maps (T, B, C_i, H_i, W_i),
        fine to coarse."""
        coarsest = inputs[-1]
        pooled = [
            resize(pool(coarsest), coarsest.shape[-2:], self.align_corners) for pool in self.pools
        ]
        maps = [self.bottleneck(torch.cat([coarsest, *pooled], 2))]
        for lateral, x in zip(reversed(self.laterals), reversed(inputs[:-1])):
            maps.append(lateral(x) + resize(maps[-1], x.shape[-2:], self.align_corners))
        coarse, *finer = maps
        outs = [coarse, *(output(x) for output, x in zip(reversed(self.outputs), finer))]
        return self.fusion(
            torch.cat([resize(x, inputs[0].shape[-2:], self.align_corners) for x in outs], 2)
        )
