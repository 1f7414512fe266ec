"""Spiking feature pyramid of the SDT-V3 segmentation protocol (``QFPN`` there)."""
from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmbsa.models.layers import SpikeConv, check_steps, merge_time, split_time
from mmbsa.models.neurons import bind_steps
from mmbsa.registry import MODELS


@MODELS.register_module()
class SpikeFPN(BaseModule):
    """Top-down pyramid of neuron -> conv -> norm units; time-major in and out.

    Data flow::

        level i --(neuron, 1x1 conv, norm)--> lateral i --(+ nearest upsampled i+1)--> (neuron, 3x3 conv, norm) --> out i

    Laterals are added real-valued. Convolutions have a bias although a norm follows, as the official ones do.

    Args:
        in_channels: channels of the backbone's maps, fine to coarse.
        out_channels: channels of every output.
        num_outs: number of outputs; those beyond the inputs are strided subsamples of the coarsest.
        neuron: neuron config.
        norm_cfg: norm config.
        num_steps: T, for neurons whose parameters depend on it; None takes any T.
        init_cfg: OpenMMLab's.

    Raises:
        ValueError: fewer outputs than inputs, or a number of maps other than ``in_channels``.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, num_outs: int | None = None,
                 neuron: dict | None = None, norm_cfg: dict | None = None, num_steps: int | None = None,
                 init_cfg: dict | Sequence | None = None):
        init_cfg = init_cfg or dict(type='Xavier', layer='Conv2d', distribution='uniform')
        super().__init__(init_cfg)
        self.in_channels = tuple(in_channels)
        self.num_outs = len(self.in_channels) if num_outs is None else num_outs
        if self.num_outs < len(self.in_channels):
            raise ValueError(f'SpikeFPN: num_outs={num_outs} is less than the {len(self.in_channels)} in_channels')
        self.num_steps = num_steps
        neuron = bind_steps(neuron or dict(type='mmbsa.IntegerNode', levels=4), num_steps)
        unit = dict(bias=True, neuron=neuron, norm_cfg=norm_cfg or dict(type='BN'))
        self.laterals = nn.ModuleList(SpikeConv(c, out_channels, 1, **unit) for c in self.in_channels)
        self.outputs = nn.ModuleList(SpikeConv(out_channels, out_channels, 3, **unit) for _ in self.in_channels)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """(T, B, C_i, H_i, W_i) per input, fine to coarse -> (T, B, out_channels, H_i, W_i) per output."""
        if len(inputs) != len(self.in_channels):
            raise ValueError(f'SpikeFPN: got {len(inputs)} maps for in_channels={self.in_channels}')
        widths = tuple(x.shape[2] for x in inputs)
        if widths != self.in_channels:
            raise ValueError(f'SpikeFPN: neck.in_channels={self.in_channels}, but the maps have {widths} channels')
        check_steps(inputs[0], self.num_steps, 'neck.num_steps')
        maps = [lateral(x) for lateral, x in zip(self.laterals, inputs)]
        for i in range(len(maps) - 1, 0, -1):
            top_down = interpolate(merge_time(maps[i]), size=maps[i - 1].shape[-2:], mode='nearest')
            maps[i - 1] = maps[i - 1] + split_time(top_down, len(maps[i]))
        outs = [output(x) for output, x in zip(self.outputs, maps)]
        for _ in range(self.num_outs - len(outs)):
            outs.append(outs[-1][..., ::2, ::2])
        return tuple(outs)
