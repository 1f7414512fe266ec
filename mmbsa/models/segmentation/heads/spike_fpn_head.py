"""Spiking semantic FPN head of the SDT-V3 segmentation protocol (``QFPNHead`` there)."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from mmbsa.models.layers import SpikeConv
from mmbsa.models.segmentation.heads.base import SpikeDecodeHead, resize
from mmbsa.registry import MODELS


class ScaleHead(nn.ModuleList):
    """Units of neuron -> 3x3 conv -> norm at one scale, each followed by bilinear x2 with
    ``upsample``.

    Args:
        number: number of units.
        in_channels: channels of the input.
        channels: channels of the output.
        upsample: whether each unit is followed by bilinear upsampling with factor 2.
        align_corners: as in ``torch.nn.functional.interpolate``.
        unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
    """

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
        """Return (T, B, C, H * 2^n, W * 2^n), or (T, B, C, H, W) without upsampling, for an input
        (T, B, C_in, H, W) and n units."""
        for conv in self:
            x = conv(x)
            if self.upsample:
                x = resize(x, (2 * x.shape[-2], 2 * x.shape[-1]), self.align_corners)
        return x


@MODELS.register_module()
class SpikeFPNHead(SpikeDecodeHead):
    """Spiking semantic FPN head for time-major maps; the readout is the mean of the logits over T.

    Data flow::

        map i --(neuron, 3x3 conv, norm, x2) * n_i--> sum over i at the finest size
        --neuron, dropout, 1x1 conv--> logits (T,B,K,H,W) --mean over T--> (B,K,H,W)
        n_i = max(1, log2(stride_i / stride_0))

    Published results depend on three properties of the official head. It sets ``feature_strides``
    to (4, 8, 16, 32) although the real strides are (2, 4, 8, 16), which gives the same n_i. Its
    dropout is configured but never applied, so the default ratio here is 0. The finest scale is not
    upsampled after its unit.

    Args:
        feature_strides: strides of the input maps in pixels, ascending; only their ratios are used.
        kwargs: arguments of :class:`SpikeDecodeHead`.

    Raises:
        ValueError: the number of strides differs from that of ``in_channels``, or strides are not
            ascending.
    """

    def __init__(self, feature_strides: Sequence[int], **kwargs):
        super().__init__(**kwargs)
        strides = tuple(feature_strides)
        if len(strides) != len(self.in_channels) or strides != tuple(sorted(strides)):
            raise ValueError(
                f'SpikeFPNHead: feature_strides={strides} must be ascending, one per in_channels='
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
        """Return membrane potentials (T, B, channels, H_0, W_0) for maps (T, B, C_i, H_i, W_i),
        fine to coarse."""
        out = self.scale_heads[0](inputs[0])
        for head, x in zip(self.scale_heads[1:], inputs[1:]):
            out = out + resize(head(x), out.shape[-2:], self.align_corners)
        return out
