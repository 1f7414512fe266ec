"""Common parts of Spike-driven Transformer V2 and V3: convolutional stages, then transformer stages
at one sixteenth of the input size."""

from collections.abc import Sequence

from torch import nn

from mmbsa.models.backbones.base import BaseSpikingBackbone
from mmbsa.models.layers import SpikeConv, drop_path_rates


class MetaFormerBackbone(BaseSpikingBackbone):
    """Base class of Meta-SpikeFormer, E-SpikeFormer and E-SpikeFormer large.

    Data flow at H x W, embed_dims (C0, C1, C2, ...); ``down`` is neuron -> 3x3 conv -> norm::

        stem: 7x7 conv, stride 2 (no neuron)        (T,B,C0/2,H/2,W/2)
        stages[0]: conv block                       (T,B,C0/2,H/2,W/2)    level 0
        stages[1]: down 2, conv block               (T,B,C0,H/4,W/4)      level 1
        stages[2]: down 2, conv block x 2           (T,B,C1,H/8,W/8)      level 2
        stages[3]: down 2, transformer block x N0   (T,B,C2,H/16,W/16)    level 3
        stages[4]: down 1, transformer block x N1   (T,B,C3,H/16,W/16)    level 4, and so on

    The feature maps are real-valued membrane potentials. Subclasses define :meth:`conv_block` and
    :meth:`transformer_block`; the arguments are those of :class:`BaseSpikingBackbone`.
    """

    head_neuron = True
    #: ``depths`` has an entry per transformer stage.
    required = ('embed_dims',)
    defaults = dict(depths=(6, 2), num_heads=8, mlp_ratio=4)
    small_arch = dict(embed_dims=(8, 16, 16, 24), depths=(1, 1), num_heads=2)

    def check(self, spec: dict) -> None:
        """Check ``embed_dims`` of an arch.

        Args:
            spec: the arch as a dict, with all keys present.

        Raises:
            ValueError: ``embed_dims`` does not have 2 + len(depths) entries, or its first entry is
                odd.
        """
        name, stages = type(self).__name__, 2 + len(spec['depths'])
        if len(spec['embed_dims']) != stages:
            raise ValueError(
                f'{name}: arch.embed_dims must have 2 + len(depths) = {stages} entries, got '
                f'{spec["embed_dims"]}'
            )
        if spec['embed_dims'][0] % 2:
            raise ValueError(
                f'{name}: arch.embed_dims[0]={spec["embed_dims"][0]} must be even, because the '
                'stem has half of these channels'
            )

    def conv_block(self, channels: int, spec: dict, unit: dict) -> nn.Module:
        """Return a block of the convolutional stages.

        Args:
            channels: C, channels of input and output (T, B, C, H, W).
            spec: the arch as a dict, with all keys present.
            unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
        """
        raise NotImplementedError(f'{type(self).__name__} must define conv_block')

    def transformer_block(
        self, channels: int, drop_path_rate: float, spec: dict, unit: dict
    ) -> nn.Module:
        """Return a block of the transformer stages.

        Args:
            channels: C, channels of input and output (T, B, C, H, W).
            drop_path_rate: probability of stochastic depth of this block.
            spec: the arch as a dict, with all keys present.
            unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
        """
        raise NotImplementedError(f'{type(self).__name__} must define transformer_block')

    def build(self, spec: dict, unit: dict) -> tuple[nn.Module, list, list[tuple[int, int]]]:
        """Build the stem and the stages; see :meth:`BaseSpikingBackbone.build`.

        The rate of stochastic depth increases linearly from 0 over the transformer blocks.
        """
        dims, rates = (
            spec['embed_dims'],
            iter(drop_path_rates(self.drop_path_rate, sum(spec['depths']))),
        )

        def down(in_dims: int, out_dims: int, stride: int) -> nn.Module:
            return SpikeConv(in_dims, out_dims, 3, stride=stride, bias=True, **unit)

        def conv_block(channels: int) -> nn.Module:
            return self.conv_block(channels, spec, unit)

        stem = SpikeConv(
            self.in_channels, dims[0] // 2, 7, stride=2, bias=True, **{**unit, 'neuron': None}
        )
        stages: list[Sequence[nn.Module]] = [
            [conv_block(dims[0] // 2)],
            [down(dims[0] // 2, dims[0], 2), conv_block(dims[0])],
            [down(dims[0], dims[1], 2), conv_block(dims[1]), conv_block(dims[1])],
        ]
        for index, depth in enumerate(spec['depths']):
            channels = dims[2 + index]
            stages.append(
                [
                    down(dims[1 + index], channels, 1 if index else 2),
                    *(
                        self.transformer_block(channels, next(rates), spec, unit)
                        for _ in range(depth)
                    ),
                ]
            )
        strides = (2, 4, 8) + (16,) * len(spec['depths'])
        return stem, stages, list(zip((dims[0] // 2, *dims), strides))
