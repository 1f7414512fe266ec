"""Spiking semantic FPN head of the SDT-V3 segmentation protocol (``QFPNHead`` there)."""
import math
from collections.abc import Sequence

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmbsa.models.layers import TIME_MODES, SpikeConv, check_steps, merge_time, split_time
from mmbsa.models.neurons import bind_steps, build_neuron
from mmbsa.registry import MODELS


def _resize(x: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    if x.shape[-2:] == tuple(size):
        return x
    return split_time(interpolate(merge_time(x), size=tuple(size), mode='bilinear', align_corners=align_corners), len(x))


class ScaleHead(nn.ModuleList):
    """``number`` units of neuron -> 3x3 conv -> norm at one scale, each followed by bilinear x2 when ``upsample``."""

    def __init__(self, number: int, in_channels: int, channels: int, upsample: bool, align_corners: bool, unit: dict):
        super().__init__(SpikeConv(in_channels if i == 0 else channels, channels, 3, **unit) for i in range(number))
        self.upsample, self.align_corners = upsample, align_corners

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C_in, H, W) -> (T, B, C, H * 2^n, W * 2^n), or the same size without upsampling."""
        for conv in self:
            x = conv(x)
            if self.upsample:
                x = _resize(x, (2 * x.shape[-2], 2 * x.shape[-1]), self.align_corners)
        return x


@MODELS.register_module()
class SpikeFPNHead(BaseDecodeHead):
    """Semantic FPN over time-major maps with spiking units; time is read out on the logits.

    Data flow::

        map i --(neuron, 3x3 conv, norm, x2) * n_i--> sum over i at the finest size --neuron--> dropout --1x1 conv-->
        logits (T,B,K,H,W) --mean over T--> (B,K,H,W),      n_i = max(1, log2(stride_i / stride_0))

    Facts of the official head that are kept because published results contain them: ``feature_strides`` are named
    (4, 8, 16, 32) although the real ones are (2, 4, 8, 16), which gives the same n_i; dropout is configured there but
    never applied, so the default ratio here is 0; the finest scale is not upsampled after its unit.

    Args:
        feature_strides: of the inputs, ascending; only their ratios matter.
        neuron: neuron config.
        num_steps: T, for neurons whose parameters depend on it; None takes any T.
        kwargs: mmseg's ``BaseDecodeHead``: in_channels, in_index, channels, num_classes, loss_decode, ...; ``dropout_ratio``
            is 0 and ``norm_cfg`` is BN unless given.

    Raises:
        ValueError: strides that do not match ``in_channels`` or do not ascend.
    """

    def __init__(self, feature_strides: Sequence[int], neuron: dict | None = None, num_steps: int | None = None, **kwargs):
        kwargs.setdefault('dropout_ratio', 0)
        kwargs['norm_cfg'] = kwargs.get('norm_cfg') or dict(type='BN')
        super().__init__(input_transform='multiple_select', **kwargs)
        strides = tuple(feature_strides)
        if len(strides) != len(self.in_channels) or strides != tuple(sorted(strides)):
            raise ValueError(f'SpikeFPNHead: feature_strides={strides} must ascend, one per in_channels='
                             f'{tuple(self.in_channels)}')
        self.num_steps = num_steps
        neuron = bind_steps(neuron or dict(type='mmbsa.IntegerNode', levels=4), num_steps)
        unit = dict(neuron=neuron, norm_cfg=self.norm_cfg)
        self.scale_heads = nn.ModuleList(
            ScaleHead(max(1, round(math.log2(stride / strides[0]))), channels, self.channels, stride != strides[0],
                      self.align_corners, unit)
            for stride, channels in zip(strides, self.in_channels))
        self.out_neuron = build_neuron(neuron)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Time-major maps (T, B, C_i, H_i, W_i) -> logits (B, num_classes, H_0, W_0)."""
        inputs = self._transform_inputs(inputs)
        check_steps(inputs[0], self.num_steps, 'decode_head.num_steps')
        out = self.scale_heads[0](inputs[0])
        for head, x in zip(self.scale_heads[1:], inputs[1:]):
            out = out + _resize(head(x), out.shape[-2:], self.align_corners)
        logits = self.cls_seg(merge_time(self.out_neuron(out)))
        return TIME_MODES['mean'](split_time(logits, len(out)))
