"""What Spike-driven Transformer V2 and V3 share: convolutional stages, then transformer stages at one sixteenth."""
from collections.abc import Callable, Sequence

from torch import nn

from mmbsa.models.backbones.base import BaseSpikingBackbone
from mmbsa.models.layers import SpikeConv, drop_path_rates


class MetaFormerBackbone(BaseSpikingBackbone):
    """Template of Meta-SpikeFormer and the E-SpikeFormers.

    Data flow at H x W, embed_dims (C0, C1, C2, ...); ``down`` is neuron -> 3x3 conv -> norm::

        stem: 7x7 conv, stride 2 (no neuron)        (T,B,C0/2,H/2,W/2)
        stages[0]: conv block                       (T,B,C0/2,H/2,W/2)    level 0
        stages[1]: down 2, conv block               (T,B,C0,H/4,W/4)      level 1
        stages[2]: down 2, conv block x 2           (T,B,C1,H/8,W/8)      level 2
        stages[3]: down 2, transformer block x N0   (T,B,C2,H/16,W/16)    level 3
        stages[4]: down 1, transformer block x N1   (T,B,C3,H/16,W/16)    level 4, and so on

    Feature maps are the real-valued residual stream.
    """

    head_fires = True
    #: optional keys of ``arch`` and what they are when left out; ``depths`` has an entry per transformer stage.
    defaults: dict = dict(depths=(6, 2), num_heads=8, mlp_ratio=4)

    def read_arch(self) -> dict:
        """``arch`` with its defaults.

        Raises:
            ValueError: an unknown key, or a number of widths that does not fit the number of stages.
        """
        name = type(self).__name__
        spec = {**self.defaults, **self.arch}
        stages = 2 + len(spec['depths'])
        if set(spec) - set(self.defaults) != {'embed_dims'} or len(spec['embed_dims']) != stages:
            raise ValueError(f'{name}: arch must hold embed_dims (2 + len(depths) = {stages} of them) and may hold '
                             f'{", ".join(self.defaults)}; got {self.arch}')
        if spec['embed_dims'][0] % 2:
            raise ValueError(f'{name}: arch.embed_dims[0]={spec["embed_dims"][0]} must be even: the stem takes half')
        return spec

    def build_stages(self, spec: dict, in_channels: int, drop_path_rate: float, unit: dict,
                     conv_block: Callable[[int], nn.Module],
                     transformer_block: Callable[[int, float], nn.Module]) -> None:
        """Fill stem and stages and finish.

        Args:
            spec: from :meth:`read_arch`.
            in_channels: of the input.
            drop_path_rate: of the last block; rates grow linearly from 0.
            unit: ``neuron``, ``norm_cfg`` and ``num_steps`` of every unit.
            conv_block: from channels to a block.
            transformer_block: from channels and a stochastic depth to a block.
        """
        self.neuron_cfg = unit['neuron']
        dims, rates = spec['embed_dims'], iter(drop_path_rates(drop_path_rate, sum(spec['depths'])))

        def down(in_dims: int, out_dims: int, stride: int) -> nn.Module:
            return SpikeConv(in_dims, out_dims, 3, stride=stride, bias=True, **unit)

        self.stem = SpikeConv(in_channels, dims[0] // 2, 7, stride=2, bias=True, **{**unit, 'neuron': None})
        stages: list[Sequence[nn.Module]] = [
            [conv_block(dims[0] // 2)],
            [down(dims[0] // 2, dims[0], 2), conv_block(dims[0])],
            [down(dims[0], dims[1], 2), conv_block(dims[1]), conv_block(dims[1])]]
        for index, depth in enumerate(spec['depths']):
            stages.append([down(dims[1 + index], dims[2 + index], 1 if index else 2),
                           *(transformer_block(dims[2 + index], next(rates)) for _ in range(depth))])
        self.stages.extend(nn.Sequential(*blocks) for blocks in stages)
        strides = (2, 4, 8) + (16,) * len(spec['depths'])
        self.feature_info = [dict(num_chs=c, reduction=r) for c, r in zip((dims[0] // 2, *dims), strides)]
        self.finish()
