"""Spiking semantic FPN head of the SDT-V3 segmentation protocol (``QFPNHead`` there)."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from mmbsa.models.layers import SpikeConv
from mmbsa.models.segmentation.heads.base import SpikeDecodeHead, resize
from mmbsa.registry import MODELS


class ScaleHead(nn.ModuleList):
    """``number`` units of neuron -> 3x3 conv -> norm at one scale, each followed by bilinear x2
    when ``upsample``."""

    def __init__(
        self,
        number: int,
        in_channels: int,
        channels: int,
        upsample: bool,
        align_corners: bool,
        unit: dict,
    ):
        super().__init__(
            SpikeConv(in_channels if i == 0 else channels, channels, 3, **unit)
            for i in range(number)
        )
        self.upsample, self.align_corners = upsample, align_corners

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C_in, H, W) -> (T, B, C, H * 2^n, W * 2^n), or the same size without
        upsampling."""
        for conv in self:
            x = conv(x)
            if self.upsample:
                x = resize(x, (2 * x.shape[-2], 2 * x.shape[-1]), self.align_corners)
        return x


@MODELS.register_module()
class SpikeFPNHead(SpikeDecodeHead):
    """Semantic FPN over time-major maps with spiking units; time is read out on the logits.

    Data flow::

        map i --(neuron, 3x3 conv, norm, x2) * n_i--> sum over i at the finest size
        --neuron, dropout, 1x1 conv--> logits (T,B,K,H,W) --mean over T--> (B,K,H,W)
        n_i = max(1, log2(stride_i / stride_0))

    Facts of the official head that are kept because published results contain them:
    ``feature_strides`` are named (4, 8, 16, 32) although the real ones are (2, 4, 8, 16), which
    gives the same n_i; dropout is configured there but never applied, so the default ratio here is
    0; the finest scale is not upsampled after its unit.

    Args:
        feature_strides: of the inputs, ascending; only their ratios matter.
        kwargs: see :class:`SpikeDecodeHead`.

    Raises:
        ValueError: strides that do not match ``in_channels`` or do not ascend.
    """

    def __init__(self, feature_strides: Sequence[int], **kwargs):
        super().__init__(**kwargs)
        strides = tuple(feature_strides)
        if len(strides) != len(self.in_channels) or strides != tuple(sorted(strides)):
            raise ValueError(
                f'SpikeFPNHead: feature_strides={strides} must ascend, one per in_channels='
                f'{tuple(self.in_channels)}'
            )
        self.scale_heads = nn.ModuleList(
            ScaleHead(
                max(1, round(math.log2(stride / strides[0]))),
                channels,
                self.channels,
                stride != strides[0],
                self.align_corners,
                self.unit,
            )
            for stride, channels in zip(strides, self.in_channels)
        )

    def fuse_maps(self, inputs: Sequence[Tensor]) -> Tensor:
        """Maps (T, B, C_i, H_i, W_i), fine to coarse -> potentials (T, B, channels, H_0, W_0)."""
        out = self.scale_heads[0](inputs[0])
        for head, x in zip(self.scale_heads[1:], inputs[1:]):
            out = out + resize(head(x), out.shape[-2:], self.align_corners)
        return out
