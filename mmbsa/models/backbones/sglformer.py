"""SGLFormer (Zhang et al., Frontiers in Neuroscience 2024): local and global spiking transformer
blocks."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from mmbsa.models.attentions import ProjectedAttention
from mmbsa.models.backbones.base import BaseSpikingBackbone
from mmbsa.models.backbones.isotropic import SpikingTransformerBlock
from mmbsa.models.backbones.qkformer import BatchAsTime
from mmbsa.models.backbones.recipes import cifar, events, imagenet
from mmbsa.models.layers import Residual, SpikeConv, SpikeMLP, drop_path_rates
from mmbsa.registry import MODELS
from mmbsa.spiking import carry


class Interleaved(nn.Module):
    """Run a module on the four sub-maps of every second row and column, as separate samples.

    A map with an odd side is padded by a row or column of zeros, and the output is cropped; the
    official code supports even sides only.

    Args:
        branch: module from (T, 4 B, C, H / 2, W / 2) to the same shape.
    """

    def __init__(self, branch: nn.Module):
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (T, B, C, H, W) for an input (T, B, C, H, W); the module gets (T, 4 B,
        C, H / 2, W / 2)."""
        whole, (height, width) = x, x.shape[3:]
        if height % 2 or width % 2:
            x = F.pad(x, (0, width % 2, 0, height % 2))
        # channels last, the memory layout of the maps
        parts = (
            x.permute(0, 1, 3, 4, 2).unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
        )  # (T, B, h, 2, w, 2, C)
        parts = (
            parts.permute(0, 1, 3, 5, 2, 4, 6).flatten(1, 3).permute(0, 1, 4, 2, 3)
        )  # (T, 4 B, C, h, w)
        fired = self.branch(carry(parts, whole))
        out = fired.permute(0, 1, 3, 4, 2).unflatten(1, (-1, 2, 2))  # (T, B, 2, 2, h, w, C)
        out = out.permute(0, 1, 4, 2, 5, 3, 6).flatten(4, 5).flatten(2, 3).permute(0, 1, 4, 2, 3)
        return carry(out[..., :height, :width], fired)


class LocalBlock(nn.Sequential):
    """Local block: x + local feature(x), x + attention within interleaved sub-maps, x + MLP; no
    layer has a bias.

    The local feature has its own shortcuts: y = x + depth-wise 3x3, then y + (1x1, depth-wise 3x3,
    1x1) with four times the channels in between.

    Args:
        channels: C, channels of input and output.
        num_heads: number of heads of the attention.
        attention: config of the attention kind.
        mlp_ratio: hidden channels of the MLP divided by C.
        drop_path_rate: probability of stochastic depth of this block.
        unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        attention: dict,
        mlp_ratio: float,
        drop_path_rate: float,
        unit: dict,
    ):
        hidden, last = 4 * channels, dict(unit, neuron_last=True)
        feature = nn.Sequential(
            Residual(SpikeConv(channels, channels, 3, groups=channels, **last), channels),
            Residual(
                nn.Sequential(
                    SpikeConv(channels, hidden, **last),
                    SpikeConv(hidden, hidden, 3, groups=hidden, **last),
                    SpikeConv(hidden, channels, **last),
                ),
                channels,
            ),
        )
        attention = ProjectedAttention(
            channels,
            num_heads,
            attention,
            unit['neuron'],
            project=partial(SpikeConv, norm_cfg=unit['norm_cfg']),
            family_scale=0.125,
            neuron_first=False,
            neuron_last=True,
        )
        branches = (
            feature,
            Interleaved(attention),
            SpikeMLP(channels, mlp_ratio, bias=False, **last),
        )
        super().__init__(
            *(Residual(branch, channels, drop_path_rate=drop_path_rate) for branch in branches)
        )


@MODELS.register_module()
class SGLFormer(BaseSpikingBackbone):
    """Backbone SGLFormer: groups of one local block and several global blocks, spike shortcuts.

    Every unit is conv -> norm -> [pool] -> neuron, so the feature maps are sums of spikes. Data
    flow, strides of ImageNet (``pooling='11110'``)::

        stem: 3x3 conv, pool                                  (T,B,D/8,H/2,W/2)
        stages[0]: 3x3 conv, pool                             (T,B,D/4,H/4,W/4)      level 0
        stages[1]: 3x3 conv, pool                             (T,B,D/2,H/8,W/8)      level 1
        stages[2]: 3x3 conv, pool                             (T,B,D,H/16,W/16)      level 2
        stages[3]: 3x3 conv, (LocalBlock,                     (T,B,D,H/16,W/16)      level 3
                   (x + SSA(x), x + MLP(x)) x global_blocks) x depth

    ImageNet classifiers average over positions and T. Classifiers of CIFAR and events have a
    depth-wise convolution over all positions and steps and a norm instead of both means. They
    support only one input size and one T, and cannot run step by step; the backbone can.

    Parameters are those of the official code without two LayerNorms per global block of ImageNet (4
    D each).

    Args:
        arch: ``'8-D'`` for ImageNet, ``'8-D-late'`` (class ``sglformer_ima2``, whose first
            convolution does not pool), ``'cifar-4-384'``, ``'cifar10dvs-2-256'``,
            ``'dvs128-2-256'``; or a dict with ``embed_dims`` (D) and ``num_heads``, and optionally
            ``depth`` (number of groups), ``global_blocks`` (number per group), ``mlp_ratio``,
            ``pooling`` (five digits, 1 where a convolution of the tokenizer halves height and
            width), ``first`` (D divided by the channels of the first convolution), ``bias`` (of
            output projections and MLPs of global blocks), ``positions`` (number of positions in the
            full-size convolution of the published head, None for a mean), ``in_channels``.
        num_steps: T, the number of time steps; published results for events use 10 and 16.
        official_quirks: whether the output neurons of global attentions, and that of a first
            convolution without a pool, run over T * B steps, see :class:`BatchAsTime`; default
            False. The published ImageNet weights depend on it.
        kwargs: arguments of :class:`BaseSpikingBackbone`. Official code never applies stochastic
            depth.
    """

    default_arch = '8-384'
    required = ('embed_dims', 'num_heads')
    defaults = dict(
        depth=1,
        global_blocks=2,
        mlp_ratio=4,
        pooling='11110',
        first=8,
        bias=True,
        positions=None,
        in_channels=3,
    )
    recipes = {
        '': imagenet(224 / 256),
        'cifar-': cifar(),
        'cifar10dvs': events(16, 128, 'cifar10dvs'),
        'dvs128': events(16, 128, 'dvs128'),
    }
    small_arch = dict(embed_dims=16, num_heads=2, global_blocks=1, pooling='01110')
    arch_settings = {
        **{
            f'8-{dims}{suffix}': dict(
                embed_dims=dims, num_heads=dims // 64, global_blocks=6, pooling=pooling
            )
            for suffix, pooling in (('', '11110'), ('-late', '01111'))
            for dims in (384, 512, 768)
        },
        'cifar-4-384': dict(
            embed_dims=384, num_heads=16, pooling='00011', first=6, bias=False, positions=64
        ),
        **{
            f'{data}-2-256': dict(
                embed_dims=256,
                num_heads=16,
                pooling='01111',
                first=6,
                bias=False,
                positions=64,
                in_channels=2,
            )
            for data in ('cifar10dvs', 'dvs128')
        },
    }

    def check(self, spec: dict) -> None:
        """Check ``pooling``, ``depth``, ``global_blocks``, ``embed_dims`` and ``first`` of an arch.

        Args:
            spec: the arch as a dict, with all keys present.

        Raises:
            ValueError: a value is not valid; the message names the key.
        """
        if len(spec['pooling']) != 5 or set(spec['pooling']) - {'0', '1'}:
            raise ValueError(
                "SGLFormer: arch.pooling must be five digits 0 or 1, such as '11110', got "
                f'{spec["pooling"]!r}'
            )
        if spec['depth'] < 1 or spec['global_blocks'] < 0:
            raise ValueError(
                f'SGLFormer: arch.depth={spec["depth"]} must be at least 1 and arch.global_blocks='
                f'{spec["global_blocks"]} not negative'
            )
        if (
            spec['embed_dims'] < 1
            or spec['embed_dims'] // spec['first'] < 1
            or spec['embed_dims'] % 4
        ):
            raise ValueError(
                f'SGLFormer: arch.embed_dims={spec["embed_dims"]} must be a multiple of 4 and at '
                'least '
                f'arch.first={spec["first"]}'
            )

    def build(self, spec: dict, unit: dict) -> tuple[nn.Module, list, list[tuple[int, int]]]:
        """Build a tokenizer of five convolutions, with the groups after the last one; see
        :meth:`BaseSpikingBackbone.build`."""
        dims, pooling = spec['embed_dims'], spec['pooling']
        widths = (self.in_channels, dims // spec['first'], dims // 4, dims // 2, dims, dims)
        stem, *steps = (
            SpikeConv(
                c_in, c_out, 3, neuron_last=True, pool='after' if digit == '1' else None, **unit
            )
            for c_in, c_out, digit in zip(widths, widths[1:], pooling)
        )
        if self.official_quirks and pooling[0] == '0':
            stem.neuron = BatchAsTime(stem.neuron)
        rates = iter(
            drop_path_rates(self.drop_path_rate, spec['depth'] * (1 + spec['global_blocks']))
        )
        blocks: list[nn.Module] = []
        for _ in range(spec['depth']):
            blocks.append(
                LocalBlock(
                    dims,
                    spec['num_heads'],
                    self.attention_cfg,
                    spec['mlp_ratio'],
                    next(rates),
                    unit,
                )
            )
            for _ in range(spec['global_blocks']):
                block = SpikingTransformerBlock(
                    dims,
                    spec['num_heads'],
                    self.attention_cfg,
                    unit,
                    'spike',
                    spec['mlp_ratio'],
                    family_scale=0.125,
                    drop_path_rate=next(rates),
                    proj_bias=spec['bias'],
                    mlp_bias=spec['bias'],
                )
                if self.official_quirks:
                    block[0].branch.last_neuron = BatchAsTime(block[0].branch.last_neuron)
                blocks.append(block)
        stages = [[step] for step in steps[:-1]] + [[steps[-1], *blocks]]
        strides = [2 ** pooling[:index].count('1') for index in range(2, 6)]
        return stem, stages, list(zip(widths[2:], strides))

    def published_head(self) -> dict:
        """Return the arguments of the published head: a full-size convolution if the arch has
        ``positions``."""
        positions = self.arch['positions']
        return dict(super().published_head(), full_size=positions and (positions, self.num_steps))
