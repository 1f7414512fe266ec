"""Spiking feature pyramid of SDT-V3, for segmentation (``QFPN`` there) and detection
(``SpikeFPN``)."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmbsa.models.layers import SpikeConv, check_steps, merge_time, split_time
from mmbsa.models.neurons import IntegerNode, bind_steps
from mmbsa.registry import MODELS, resolve_type

BATCH_NORM = dict(type='BN')


class BinaryInEval(IntegerNode):
    """Integer neuron of the official detection neck: counts above 1 become 1 in evaluation.

    In training the output counts are 0 .. D. The arguments are those of :class:`IntegerNode`.
    """

    def fire(self, u: Tensor) -> Tensor:
        """Return the spikes for a membrane potential ``u`` of any shape."""
        spikes = super().fire(u)
        return spikes if self.training else spikes.clamp(max=1 / self.norm)


@MODELS.register_module()
class SpikeFPN(BaseModule):
    """Spiking feature pyramid: top-down units of neuron -> conv -> norm, with time-major input and
    output.

    Data flow::

        level i --(neuron, 1x1 conv, norm)--> lateral i
        lateral i + nearest upsampled sum i+1 = sum i --(neuron, 3x3 conv, norm)--> out i

    The laterals are real-valued when they are added. Convolutions have a bias even if a norm
    follows, as in the official code. The segmentation protocol has norms and divides counts by D;
    the detection protocol does neither: ``norm_cfg=None, neuron=dict(type='mmbsa.IntegerNode',
    levels=4, norm=1)``.

    Args:
        in_channels: channels of the input maps, fine to coarse.
        out_channels: channels of every output.
        num_outs: number of outputs; outputs beyond the number of inputs are strided subsamples of
            the coarsest. None (default) means the number of inputs.
        neuron: config of all neurons.
        norm_cfg: config of the norms; None means no norms.
        num_steps: T, for neurons whose parameters depend on it; None (default) accepts every T.
        official_quirks: whether counts above 1 become 1 in evaluation but not in training, as in
            the official detection neck; default False.
        init_cfg: initialisation config of OpenMMLab; default None.

    Raises:
        ValueError: ``num_outs`` is less than the number of inputs, the number of maps differs from
            ``in_channels``, or ``official_quirks=True`` and the neuron is not a
            ``mmbsa.IntegerNode``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int | None = None,
        neuron: dict | None = None,
        norm_cfg: dict | None = BATCH_NORM,
        num_steps: int | None = None,
        official_quirks: bool = False,
        init_cfg: dict | Sequence | None = None,
    ):
        init_cfg = init_cfg or dict(type='Xavier', layer='Conv2d', distribution='uniform')
        super().__init__(init_cfg)
        self.in_channels = tuple(in_channels)
        self.num_outs = len(self.in_channels) if num_outs is None else num_outs
        if self.num_outs < len(self.in_channels):
            raise ValueError(
                f'SpikeFPN: num_outs={num_outs} is less than the {len(self.in_channels)} '
                'in_channels'
            )
        self.num_steps = num_steps
        neuron = bind_steps(neuron or dict(type='mmbsa.IntegerNode', levels=4), num_steps)
        if official_quirks:
            if resolve_type(neuron, nn.Module, 'neck.neuron', MODELS) is not IntegerNode:
                raise ValueError(
                    "SpikeFPN: official_quirks=True needs neuron=dict(type='mmbsa.IntegerNode', "
                    f'...), got {neuron}'
                )
            neuron = dict(neuron, type=BinaryInEval)
        unit = dict(bias=True, neuron=neuron, norm_cfg=norm_cfg)
        self.laterals = nn.ModuleList(
            SpikeConv(c, out_channels, 1, **unit) for c in self.in_channels
        )
        self.outputs = nn.ModuleList(
            SpikeConv(out_channels, out_channels, 3, **unit) for _ in self.in_channels
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return one map (T, B, out_channels, H_i, W_i) per output for input maps (T, B, C_i, H_i,
        W_i), fine to coarse.

        Raises:
            ValueError: the number of maps or their channels differ from ``in_channels``, or T from
                ``num_steps``.
        """
        if len(inputs) != len(self.in_channels):
            raise ValueError(f'SpikeFPN: got {len(inputs)} maps for in_channels={self.in_channels}')
        widths = tuple(x.shape[2] for x in inputs)
        if widths != self.in_channels:
            raise ValueError(
                f'SpikeFPN: neck.in_channels={self.in_channels}, but the maps have {widths} '
                'channels'
            )
        check_steps(inputs[0], self.num_steps, 'neck.num_steps')
        maps = [lateral(x) for lateral, x in zip(self.laterals, inputs)]
        for i in range(len(maps) - 1, 0, -1):
            top_down = interpolate(merge_time(maps[i]), size=maps[i - 1].shape[-2:], mode='nearest')
            maps[i - 1] = maps[i - 1] + split_time(top_down, len(maps[i]))
        outs = [output(x) for output, x in zip(self.outputs, maps)]
        for _ in range(self.num_outs - len(outs)):
            outs.append(outs[-1][..., ::2, ::2])
        return tuple(outs)
