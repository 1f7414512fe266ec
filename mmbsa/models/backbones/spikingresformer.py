"""SpikingResformer (Shi et al., CVPR 2024): the stages of a ResNet with dual spike
self-attention."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from mmbsa.models.attentions import DualSpikeSelfAttention, ProjectedAttention
from mmbsa.models.backbones.base import BaseSpikingBackbone
from mmbsa.models.backbones.recipes import CIFAR10, CIFAR100, cifar, events, imagenet
from mmbsa.models.layers import Residual, SpikeConv, drop_path_rates, init_convolutions
from mmbsa.registry import MODELS, resolve_type
from mmbsa.spiking import AttentionKind


class PatchConv(SpikeConv):
    """A p x p convolution with stride p, and a norm: one output position per patch.

    A map that is smaller than a patch is padded with zeros to one patch.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        patch_size: p, side of a patch in pixels.
        norm_cfg: norm config.
    """

    def __init__(self, in_channels: int, out_channels: int, patch_size: int, norm_cfg: dict):
        super().__init__(
            in_channels, out_channels, patch_size, stride=patch_size, padding=0, norm_cfg=norm_cfg
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (T, B, C', max(H // p, 1), max(W // p, 1)) for an input (T, B, C, H,
        W)."""
        missing = [max(side - size, 0) for side, size in zip(self.conv.kernel_size, x.shape[-2:])]
        if any(missing):
            x = F.pad(x, (0, missing[1], 0, missing[0]))
        return super().forward(x)


class GroupWiseFFN(nn.Sequential):
    """Group-wise spiking feed-forward network (GWFFN): C -> 4 C, x + grouped 3x3, 4 C -> C; each
    unit is neuron -> conv -> norm.

    Args:
        channels: C, channels of input and output.
        group_size: number of channels per group in the 3x3 convolution.
        ratio: hidden channels divided by C; default 4.
        unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.

    Raises:
        ValueError: ``group_size`` is larger than the number of hidden channels.
    """

    def __init__(self, channels: int, group_size: int, ratio: int = 4, **unit):
        hidden = channels * ratio
        if hidden < group_size:
            raise ValueError(
                f'GroupWiseFFN: group_size={group_size} is larger than the {hidden} hidden channels'
            )
        super().__init__(
            SpikeConv(channels, hidden, 1, **unit),
            Residual(SpikeConv(hidden, hidden, 3, groups=hidden // group_size, **unit), hidden),
            SpikeConv(hidden, channels, 1, **unit),
        )


@MODELS.register_module()
class SpikingResformer(BaseSpikingBackbone):
    """Backbone SpikingResformer: three stages of attention over all pixels, with keys and values
    from patches.

    Every unit is neuron -> conv -> norm (membrane shortcuts), without bias. Data flow of ImageNet
    presets::

        stem: 7x7 conv, stride 2 (no neuron), max pool    (T,B,C0,H/4,W/4)
        stages[0]: (x + DSSA(x), x + GWFFN(x)) x 1        (T,B,C0,H/4,W/4)      level 0
        stages[1]: 3x3 conv, stride 2; (...) x 2          (T,B,C1,H/8,W/8)      level 1
        stages[2]: 3x3 conv, stride 2; (...) x 3          (T,B,C2,H/16,W/16)    level 2

    The feature maps are real-valued membrane potentials. The official classifier averages them over
    positions and has a linear layer without bias; it returns the logits of every step. Attention
    kinds other than DSSA get a 1x1 projection for q, and p x p projections with stride p for k and
    v. The parameters are exactly those of the official code.

    Args:
        arch: ``'ti'``, ``'s'``, ``'m'``, ``'l'`` (ImageNet), ``'cifar'`` (3x3 stem of stride 1),
            ``'dvsg'`` (the same, for gestures, with parametric LIF neurons); or a dict with
            ``embed_dims``, ``depths``, ``num_heads`` and ``patch_sizes`` (one entry per stage) and
            optional ``group_size``, ``stem`` (``'imagenet'`` or ``'3x3'``), ``neuron`` (type of the
            default neuron).
        in_channels: channels of the input; official event presets use 3: two polarities and their
            sum.
        neuron: config of the neurons; None (default) is LIF (or parametric LIF, if the arch has it)
            with tau 2 and the surrogate ATan, alpha 2.
        img_size: nominal side of the input in pixels, used with ``official_quirks`` only; default
            None.
        official_quirks: whether DSSA scales by the number of patches at ``img_size`` for every
            input size, as in the official code; default False.
        kwargs: arguments of :class:`BaseSpikingBackbone`. The official code has no stochastic
            depth.

    Raises:
        ValueError: ``official_quirks=True`` without ``img_size``, and the errors of
            :class:`BaseSpikingBackbone`.
    """

    head_bias = False
    default_arch = 's'
    attention = dict(type='mmbsa.DualSpikeSelfAttention')
    recipes = {
        '': imagenet(0.95),
        'dvsg': events(16, 64, 'dvs128'),
        'cifar': cifar(dict(CIFAR10, std=(0.2023, 0.1994, 0.2010)), CIFAR100),
    }
    required = ('embed_dims', 'depths', 'num_heads', 'patch_sizes')
    defaults = dict(group_size=64, stem='imagenet', neuron='mmbsa.LIFNode')
    options = dict(img_size=None)
    small_arch = dict(
        embed_dims=(16, 32), depths=(1, 1), num_heads=(1, 2), patch_sizes=(2, 1), group_size=16
    )
    arch_settings = {
        **{
            name: dict(embed_dims=dims, depths=(1, 2, 3), num_heads=heads, patch_sizes=(4, 2, 1))
            for name, dims, heads in (
                ('ti', (64, 192, 384), (1, 3, 6)),
                ('s', (64, 256, 512), (1, 4, 8)),
                ('m', (64, 384, 768), (1, 6, 12)),
                ('l', (128, 512, 1024), (2, 8, 16)),
            )
        },
        'cifar': dict(
            embed_dims=(64, 192, 384),
            depths=(1, 2, 3),
            num_heads=(1, 3, 6),
            patch_sizes=(4, 2, 1),
            stem='3x3',
        ),
        'dvsg': dict(
            embed_dims=(32, 96, 192),
            depths=(1, 2, 3),
            num_heads=(1, 3, 6),
            patch_sizes=(4, 2, 1),
            stem='3x3',
            group_size=32,
            neuron='mmbsa.ParametricLIFNode',
        ),
    }

    def check(self, spec: dict) -> None:
        """Check that an arch has one entry per stage, and a known stem.

        Args:
            spec: the arch as a dict, with all keys present.

        Raises:
            ValueError: the lists differ in length, or ``stem`` is unknown.
        """
        if len({len(spec[key]) for key in self.required}) != 1:
            raise ValueError(
                f'SpikingResformer: arch must have {", ".join(self.required)} with one entry per '
                f'stage each, got {spec}'
            )
        if spec['stem'] not in ('imagenet', '3x3'):
            raise ValueError(
                f"SpikingResformer: arch.stem must be 'imagenet' or '3x3', got {spec['stem']!r}"
            )

    def default_neuron(self) -> dict:
        """Return the config of LIF or parametric LIF, by the arch."""
        kind = self.arch['neuron']
        tau = 'init_tau' if kind.endswith('ParametricLIFNode') else 'tau'
        return {
            'type': kind,
            tau: 2.0,
            'detach_reset': True,
            'surrogate_function': dict(type='ATan', alpha=2.0),
        }

    def build(self, spec: dict, unit: dict) -> tuple[nn.Module, list, list[tuple[int, int]]]:
        """Build the stem and the stages; convolution weights are initialised by a truncated normal.

        Args:
            spec: the arch as a dict, with all keys present.
            unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.

        Returns:
            The stem; one ``Sequential`` of blocks per stage; channels and stride of every stage.

        Raises:
            ValueError: ``official_quirks=True`` without ``img_size``.
        """
        if self.official_quirks and self.options['img_size'] is None:
            raise ValueError(
                'SpikingResformer: official_quirks=True needs img_size, the nominal size of the '
                'input'
            )
        dims, imagenet_stem = spec['embed_dims'], spec['stem'] == 'imagenet'
        rates = iter(drop_path_rates(self.drop_path_rate, sum(spec['depths'])))
        stem = SpikeConv(
            self.in_channels,
            dims[0],
            7 if imagenet_stem else 3,
            stride=2 if imagenet_stem else 1,
            pool='after' if imagenet_stem else None,
            **{**unit, 'neuron': None},
        )
        stride, stages, info = 4 if imagenet_stem else 1, [], []
        for index, (channels, depth) in enumerate(zip(dims, spec['depths'])):
            blocks = []
            if index:
                blocks.append(SpikeConv(dims[index - 1], channels, 3, stride=2, **unit))
                stride *= 2
            attention = dict(self.attention_cfg)
            if self.official_quirks and issubclass(
                resolve_type(attention, AttentionKind, 'attention', MODELS), DualSpikeSelfAttention
            ):
                attention.setdefault(
                    'length',
                    (self.options['img_size'] // stride // spec['patch_sizes'][index]) ** 2,
                )
            for _ in range(depth):
                blocks += self._pair(channels, index, attention, next(rates), spec, unit)
            stages.append(nn.Sequential(*blocks))
            info.append((channels, stride))
        for part in (stem, *stages):
            init_convolutions(part)
        return stem, stages, info

    @staticmethod
    def _pair(
        channels: int, index: int, attention: dict, rate: float, spec: dict, unit: dict
    ) -> list[nn.Module]:
        """Return an attention block and a feed-forward block."""
        norm_cfg, patch = unit['norm_cfg'], spec['patch_sizes'][index]
        attention = ProjectedAttention(
            channels,
            spec['num_heads'][index],
            attention,
            unit['neuron'],
            project=partial(SpikeConv, norm_cfg=norm_cfg),
            project_kv=partial(PatchConv, patch_size=patch, norm_cfg=norm_cfg)
            if patch > 1
            else None,
        )
        return [
            Residual(branch, channels, drop_path_rate=rate)
            for branch in (attention, GroupWiseFFN(channels, spec['group_size'], **unit))
        ]
