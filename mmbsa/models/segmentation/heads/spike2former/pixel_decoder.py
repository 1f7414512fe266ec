"""Pixel decoder of Spike2Former: a deformable encoder on the coarsest map, then a pyramid to the
finest map."""

from collections.abc import Sequence

from mmengine.model import caffe2_xavier_init
from torch import Tensor, nn

from mmbsa.models.layers import Residual, SepSpikeConv, SpikeConv
from mmbsa.models.segmentation.heads.base import resize
from mmbsa.models.segmentation.heads.spike2former.deformable import SpikeDeformableAttention
from mmbsa.models.segmentation.heads.spike2former.feed_forward import FeedForward
from mmbsa.registry import MODELS


@MODELS.register_module()
class Spike2FormerEncoderLayer(nn.Sequential):
    """Encoder layer: x + separable convolution, x + deformable attention, x + MLP, each with a
    layer scale that starts at 1e-6.

    Args:
        channels: C, channels of input and output.
        feedforward_channels: hidden channels of the MLP; default 1024.
        groups: number of channel groups of the deformable attention; default 32.
        kernel_size: kernel size of the separable convolution in pixels; default 3.
        depthwise_size: kernel size of the depth-wise convolutions in the deformable attention in
            pixels; default 5.
        neuron: config of the neurons.
        norm_cfg: config of the norms.
        official_quirks: whether the deformable attention and the MLP read memory in the wrong
            order, as in the official code; default False.
    """

    def __init__(
        self,
        channels: int,
        feedforward_channels: int = 1024,
        groups: int = 32,
        kernel_size: int = 3,
        depthwise_size: int = 5,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
        official_quirks: bool = False,
    ):
        unit = dict(neuron=neuron, norm_cfg=norm_cfg or dict(type='BN'))
        branches = (
            SepSpikeConv(channels, kernel_size, **unit),
            SpikeDeformableAttention(
                channels,
                groups,
                depthwise_size=depthwise_size,
                official_quirks=official_quirks,
                **unit,
            ),
            FeedForward(
                channels, feedforward_channels, misread='map' if official_quirks else None, **unit
            ),
        )
        super().__init__(*(Residual(branch, channels, layer_scale=1e-6) for branch in branches))


@MODELS.register_module()
class Spike2FormerPixelDecoder(nn.Module):
    """Pixel decoder: from maps of a backbone to mask features at the finest stride and maps for the
    transformer decoder.

    Data flow, every unit is neuron -> conv -> norm::

        coarsest map --1x1--> encoder layers --1x1--> y, outs[0]
        for every finer map, coarse to fine: y = depth-wise 3x3(1x1(map) + bilinear(y)), appended to
            outs
        y --neuron, 1x1 conv--> mask features (T,B,C,H_0,W_0), real-valued

    Args:
        in_channels: channels of the input maps, fine to coarse, two or more.
        channels: C, channels of all outputs; default 256.
        num_layers: number of encoder layers; default 6.
        feedforward_channels: hidden channels of the MLP in encoder layers; default 1024.
        groups: number of channel groups of the deformable attention; default 32.
        kernel_size: kernel size of the separable convolution in encoder layers, in pixels; default
            3.
        depthwise_size: kernel size of the depth-wise convolutions in the deformable attention, in
            pixels; default 5.
        neuron: config of the neurons.
        norm_cfg: config of the norms.
        official_quirks: whether encoder layers read memory in the wrong order, as in the official
            code; default False.

    Raises:
        ValueError: fewer than two maps.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        num_layers: int = 6,
        feedforward_channels: int = 1024,
        groups: int = 32,
        kernel_size: int = 3,
        depthwise_size: int = 5,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
        official_quirks: bool = False,
    ):
        super().__init__()
        if len(in_channels) < 2:
            raise ValueError(
                'Spike2FormerPixelDecoder needs two maps or more, got '
                f'in_channels={tuple(in_channels)}'
            )
        unit = dict(neuron=neuron, norm_cfg=norm_cfg or dict(type='BN'))
        *finer, coarsest = in_channels
        self.project_in = SpikeConv(coarsest, channels, 1, bias=True, **unit)
        self.encoder = nn.Sequential(
            *(
                Spike2FormerEncoderLayer(
                    channels,
                    feedforward_channels,
                    groups,
                    kernel_size,
                    depthwise_size,
                    official_quirks=official_quirks,
                    **unit,
                )
                for _ in range(num_layers)
            )
        )
        self.project_out = SpikeConv(channels, channels, 1, bias=True, **unit)
        self.laterals = nn.ModuleList(
            SpikeConv(width, channels, 1, bias=True, **unit) for width in finer
        )
        self.outputs = nn.ModuleList(
            SpikeConv(channels, channels, 3, groups=channels, **unit) for _ in finer
        )
        self.mask_features = SpikeConv(channels, channels, 1, bias=True, neuron=neuron)
        for part in (
            self.project_in,
            self.project_out,
            self.mask_features,
            *self.laterals,
            *self.outputs,
        ):
            caffe2_xavier_init(part.conv, bias=0)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return mask features (T, B, C, H_0, W_0), and maps (T, B, C, H_i, W_i) of all levels,
        coarse to fine.

        Args:
            inputs: maps (T, B, C_i, H_i, W_i), fine to coarse.
        """
        y = self.project_out(self.encoder(self.project_in(inputs[-1])))
        outs = [y]
        for index in range(len(self.laterals) - 1, -1, -1):
            lateral = self.laterals[index](inputs[index])
            y = self.outputs[index](lateral + resize(y, lateral.shape[-2:]))
            outs.append(y)
        return self.mask_features(y), outs
