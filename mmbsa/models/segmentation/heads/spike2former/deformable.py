"""Spike-driven deformable attention of Spike2Former: sampled values, weighted by spikes."""

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from mmbsa.models.layers import SepSpikeConv, SpikeConv, merge_time, split_time
from mmbsa.models.neurons import build_neuron
from mmbsa.models.segmentation.heads.spike2former.official import misread_map
from mmbsa.registry import MODELS


@MODELS.register_module()
class SpikeDeformableAttention(nn.Module):
    r"""Spike-driven deformable attention (Spike2Former, AAAI 2025; DCNv3 with spiking masks).

    Data flow, with g groups and P = k x k points::

        x --separable conv--> v (real)                                     (T,B,C,H,W)
        x --neuron, depth-wise conv, norm, neuron--> a
        a --1x1 conv, norm--> offsets (T,B,2 g P,H,W), pixels
        a --1x1 conv, norm, neuron--> masks (T,B,g P,H,W)
        sum_p mask_p * v[bilinear at position + p + offset_p] --separable conv--> (T,B,C,H,W)

    Masks are spikes; they are not normalised. Outside of the map v is 0. The order of the offset
    channels is (group, column of the point, row of the point, (x, y)), that of the mask channels
    (group, column, row).

    Args:
        channels: C, channels of input and output.
        groups: g, number of channel groups; must divide C; default 32. Channels of a group have the
            same offsets and masks.
        kernel_size: k, side of the square of sampled points, odd; default 3.
        depthwise_size: kernel size of all depth-wise convolutions in pixels; default 5.
        ratio: hidden channels of the separable convolutions divided by C; default 2.
        neuron: config of the neurons.
        norm_cfg: config of the norms.
        official_quirks: whether the memory of offsets and masks is read in the wrong order, as in
            the official code; default False.

    Raises:
        ValueError: ``groups`` does not divide ``channels``, or ``kernel_size`` is even.
    """

    def __init__(
        self,
        channels: int,
        groups: int = 32,
        kernel_size: int = 3,
        depthwise_size: int = 5,
        ratio: int = 2,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
        official_quirks: bool = False,
    ):
        super().__init__()
        if groups < 1 or channels % groups:
            raise ValueError(
                f'SpikeDeformableAttention: groups={groups} does not divide channels={channels}'
            )
        if kernel_size % 2 == 0:
            raise ValueError(
                f'SpikeDeformableAttention: kernel_size must be odd, got {kernel_size}'
            )
        self.groups, self.kernel_size, self.official_quirks = groups, kernel_size, official_quirks
        norm_cfg = norm_cfg or dict(type='BN')
        unit = dict(neuron=neuron, norm_cfg=norm_cfg)
        points = groups * kernel_size**2
        self.project_in = SepSpikeConv(channels, depthwise_size, ratio, **unit)
        self.context = SpikeConv(channels, channels, depthwise_size, groups=channels, **unit)
        self.neuron = build_neuron(neuron)
        self.offset = SpikeConv(channels, 2 * points, 1, bias=True, norm_cfg=norm_cfg)
        self.mask = SpikeConv(channels, points, 1, bias=True, neuron_last=True, **unit)
        self.project_out = SepSpikeConv(channels, depthwise_size, ratio, **unit)
        for conv in (self.offset.conv, self.mask.conv):
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (T, B, C, H, W) for an input (T, B, C, H, W)."""
        context = self.neuron(self.context(x))
        offset, mask = self.offset(context), self.mask(context)
        if self.official_quirks:
            offset, mask = misread_map(offset), misread_map(mask)
        out = self.sample(merge_time(self.project_in(x)), merge_time(offset), merge_time(mask))
        return self.project_out(split_time(out, len(x)))

    def sample(self, value: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Return the weighted sum of sampled values, (N, C, H, W).

        Args:
            value: values (N, C, H, W).
            offset: offsets (N, 2 g P, H, W) in pixels.
            mask: masks (N, g P, H, W).
        """
        size, sides = self.kernel_size, (self.groups, self.kernel_size, self.kernel_size)
        # torchvision needs rows of points first, and (y, x)
        offset = offset.unflatten(1, (*sides, 2)).transpose(2, 3).flip(4).flatten(1, 4)
        mask = mask.unflatten(1, sides).transpose(2, 3).flatten(1, 3)
        # there is no kernel in 16 bits for every device
        dtype = torch.promote_types(value.dtype, torch.float32)
        ones = torch.ones(value.size(1), 1, size, size, dtype=dtype, device=value.device)
        out = deform_conv2d(
            value.to(dtype), offset.to(dtype), ones, padding=size // 2, mask=mask.to(dtype)
        )
        return out.to(value.dtype)

    def extra_repr(self) -> str:
        """Return the sizes for ``repr``."""
        return (
            f'groups={self.groups}, kernel_size={self.kernel_size}, '
            f'official_quirks={self.official_quirks}'
        )
