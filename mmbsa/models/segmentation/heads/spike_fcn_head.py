"""Spiking fully convolutional head (``FCNHead_SNN`` of the STEP benchmark)."""

from collections.abc import Sequence

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from mmbsa.models.layers import TIME_MODES, SpikeConv, check_steps, merge_time, split_time
from mmbsa.models.neurons import bind_steps, build_neuron
from mmbsa.registry import MODELS


@MODELS.register_module()
class SpikeFCNHead(BaseDecodeHead):
    """Spiking version of mmseg's ``FCNHead`` for one time-major map; the readout is the mean of the
    logits over T.

    Data flow::

        map --(neuron, conv, norm) * num_convs--> [with the map: neuron, conv, norm]
        --neuron, dropout, 1x1 conv--> logits (T,B,K,H,W) --mean over T--> (B,K,H,W)

    STEP uses ``num_convs=0, concat_input=False, dropout_ratio=0``: only a neuron and a 1x1
    convolution.

    Args:
        num_convs: number of units of neuron, convolution and norm; default 2.
        kernel_size: kernel size of these convolutions in pixels, odd; default 3.
        concat_input: whether another unit combines the map and the result of the units; default
            True.
        neuron: config of the neurons; None (default) is LIF with tau 2 and a sigmoid surrogate,
            alpha 4.
        num_steps: T, for neurons whose parameters depend on it; None (default) accepts every T.
        kwargs: arguments of mmseg's ``BaseDecodeHead``: in_channels, in_index, channels,
            num_classes, loss_decode, ...; the default of ``dropout_ratio`` is 0, that of
            ``norm_cfg`` is BN.

    Raises:
        ValueError: ``in_channels`` is not one number, ``num_convs`` is negative, ``kernel_size`` is
            even, or ``num_convs=0`` and ``channels`` differs from ``in_channels``.
    """

    def __init__(
        self,
        num_convs: int = 2,
        kernel_size: int = 3,
        concat_input: bool = True,
        neuron: dict | None = None,
        num_steps: int | None = None,
        **kwargs,
    ):
        kwargs.setdefault('dropout_ratio', 0)
        kwargs['norm_cfg'] = kwargs.get('norm_cfg') or dict(type='BN')
        super().__init__(**kwargs)
        if not isinstance(self.in_channels, int):
            raise ValueError(
                f'SpikeFCNHead: decode_head.in_channels={self.in_channels} must be one number, '
                'because the head uses one map'
            )
        if num_convs < 0 or kernel_size % 2 == 0:
            raise ValueError(
                f'SpikeFCNHead: num_convs={num_convs} must not be negative and '
                f'kernel_size={kernel_size} odd'
            )
        if num_convs == 0 and not concat_input and self.in_channels != self.channels:
            raise ValueError(
                f'SpikeFCNHead: with num_convs=0 decode_head.channels={self.channels} must be '
                'in_channels='
                f'{self.in_channels}'
            )
        self.num_steps = num_steps
        neuron = bind_steps(
            neuron
            or dict(
                type='mmbsa.LIFNode',
                tau=2.0,
                detach_reset=True,
                surrogate_function=dict(type='Sigmoid', alpha=4.0),
            ),
            num_steps,
        )
        unit = dict(neuron=neuron, norm_cfg=self.norm_cfg)
        widths = (self.in_channels, *[self.channels] * num_convs)
        self.convs = nn.Sequential(
            *(
                SpikeConv(c_in, c_out, kernel_size, **unit)
                for c_in, c_out in zip(widths, widths[1:])
            )
        )
        self.concat_conv = (
            SpikeConv(self.in_channels + widths[-1], self.channels, kernel_size, **unit)
            if concat_input
            else None
        )
        self.out_neuron = build_neuron(neuron)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return logits (B, num_classes, H, W) for time-major maps (T, B, C_i, H_i, W_i); the map
        ``in_index`` is used."""
        x = self._transform_inputs(inputs)
        check_steps(x, self.num_steps, 'decode_head.num_steps')
        out = self.convs(x)
        if self.concat_conv is not None:
            out = self.concat_conv(torch.cat([x, out], dim=2))
        logits = self.cls_seg(merge_time(self.out_neuron(out)))
        return TIME_MODES['mean'](split_time(logits, len(out)))
