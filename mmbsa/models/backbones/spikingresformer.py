"""SpikingResformer (Shi et al., CVPR 2024): ResNet's hierarchy, dual spike self-attention."""
from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from mmbsa.models.attentions import ProjectedAttention
from mmbsa.models.backbones.base import BaseSpikingBackbone
from mmbsa.models.layers import Residual, SpikeConv, drop_path_rates
from mmbsa.registry import MODELS


class PatchConv(SpikeConv):
    """p x p convolution of stride p and norm: one value per patch; a map smaller than a patch is padded to one."""

    def __init__(self, in_channels: int, out_channels: int, patch_size: int, norm_cfg: dict):
        super().__init__(in_channels, out_channels, patch_size, stride=patch_size, padding=0, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, H, W) -> (T, B, C', max(H // p, 1), max(W // p, 1))."""
        missing = [max(side - size, 0) for side, size in zip(self.conv.kernel_size, x.shape[-2:])]
        if any(missing):
            x = F.pad(x, (0, missing[1], 0, missing[0]))
        return super().forward(x)


class GroupWiseFFN(nn.Sequential):
    """Group-wise spiking feed-forward network, GWFFN: C -> 4 C, x + grouped 3x3, 4 C -> C; neuron -> conv -> norm each.

    Args:
        channels: C.
        group_size: channels of a group of the 3x3 convolution.
        ratio: hidden channels over C.
        unit: ``neuron``, ``norm_cfg`` and ``num_steps``.

    Raises:
        ValueError: fewer hidden channels than a group has.
    """

    def __init__(self, channels: int, group_size: int, ratio: int = 4, **unit):
        hidden = channels * ratio
        if hidden < group_size:
            raise ValueError(f'GroupWiseFFN: group_size={group_size} is larger than the {hidden} hidden channels')
        super().__init__(
            SpikeConv(channels, hidden, 1, **unit),
            Residual(SpikeConv(hidden, hidden, 3, groups=hidden // group_size, **unit), hidden),
            SpikeConv(hidden, channels, 1, **unit))


@MODELS.register_module()
class SpikingResformer(BaseSpikingBackbone):
    """SpikingResformer: three stages of attention over all pixels, keys and values taken from patches.

    Every unit is neuron -> conv -> norm (membrane shortcuts), without bias. Data flow of ImageNet presets::

        stem: 7x7 conv, stride 2 (no neuron), max pool    (T,B,C0,H/4,W/4)
        stages[0]: (x + DSSA(x), x + GWFFN(x)) x 1        (T,B,C0,H/4,W/4)      level 0
        stages[1]: 3x3 conv, stride 2; (...) x 2          (T,B,C1,H/8,W/8)      level 1
        stages[2]: 3x3 conv, stride 2; (...) x 3          (T,B,C2,H/16,W/16)    level 2

    Feature maps are the real-valued residual stream. The official classifier averages it over positions and has a
    linear layer without bias; it returns the logits of every step. Kinds other than DSSA get a 1x1 projection for q,
    and p x p projections of stride p for k and v. Parameters are exactly those of the official code.

    Args:
        arch: ``'ti'``, ``'s'``, ``'m'``, ``'l'`` (ImageNet), ``'cifar'`` (3x3 stem of stride 1), ``'dvsg'`` (the same,
            for gestures, with parametric LIF neurons); or a dict with ``embed_dims``, ``depths``, ``num_heads`` and
            ``patch_sizes`` (one entry per stage) and optional ``group_size``, ``stem`` (``'imagenet'`` or ``'3x3'``),
            ``neuron`` (type of the default neuron).
        num_steps: T.
        in_channels: of the input; official event presets use 3: two polarities and their sum.
        attention: kind of attention; None is dual spike self-attention.
        neuron: config of every neuron that the attention kind does not choose itself; None is LIF (or parametric LIF)
            with tau 2 and the surrogate ATan, alpha 2.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0; officially there is none.
        norm_cfg: ``dict(type='BN')``, ``dict(type='SyncBN')``, ...
        img_size: nominal input size, used with ``official_quirks`` only.
        official_quirks: DSSA scales by the number of patches at ``img_size`` whatever the input, as officially.
        out_indices: None returns all levels.
        frozen_stages, norm_eval, with_cp, init_cfg, encoder: see :class:`BaseSpikingBackbone`.

    Raises:
        KeyError: an unknown preset. ValueError: a bad arch, or quirks without ``img_size``.
    """

    head_bias = False
    #: optional keys of ``arch`` and what they are when left out.
    defaults = dict(group_size=64, stem='imagenet', neuron='mmbsa.LIFNode')
    arch_settings = {
        **{name: dict(embed_dims=dims, depths=(1, 2, 3), num_heads=heads, patch_sizes=(4, 2, 1))
           for name, dims, heads in (('ti', (64, 192, 384), (1, 3, 6)), ('s', (64, 256, 512), (1, 4, 8)),
                                     ('m', (64, 384, 768), (1, 6, 12)), ('l', (128, 512, 1024), (2, 8, 16)))},
        'cifar': dict(embed_dims=(64, 192, 384), depths=(1, 2, 3), num_heads=(1, 3, 6), patch_sizes=(4, 2, 1),
                      stem='3x3'),
        'dvsg': dict(embed_dims=(32, 96, 192), depths=(1, 2, 3), num_heads=(1, 3, 6), patch_sizes=(4, 2, 1),
                     stem='3x3', group_size=32, neuron='mmbsa.ParametricLIFNode'),
    }

    def __init__(self, arch: str | dict = 's', num_steps: int = 4, in_channels: int = 3, attention: dict | None = None,
                 neuron: dict | None = None, drop_path_rate: float = 0.0, norm_cfg: dict | None = None,
                 img_size: int | None = None, official_quirks: bool = False, out_indices: Sequence[int] | None = None,
                 frozen_stages: int = -1, norm_eval: bool = False, with_cp: bool = False, init_cfg: dict | None = None,
                 encoder: dict | None = None):
        super().__init__(arch, num_steps, out_indices, frozen_stages, norm_eval, with_cp, init_cfg, encoder)
        spec = self._spec()
        if official_quirks and img_size is None:
            raise ValueError('SpikingResformer: official_quirks=True needs img_size, the nominal size of the input')
        self.neuron_cfg = neuron or self._default_neuron(spec['neuron'])
        unit = dict(neuron=self.neuron_cfg, norm_cfg=norm_cfg or dict(type='BN'), num_steps=num_steps)
        dims, imagenet = spec['embed_dims'], spec['stem'] == 'imagenet'
        rates = iter(drop_path_rates(drop_path_rate, sum(spec['depths'])))
        self.stem = SpikeConv(in_channels, dims[0], 7 if imagenet else 3, stride=2 if imagenet else 1,
                              pool='after' if imagenet else None, **{**unit, 'neuron': None})
        stride = 4 if imagenet else 1
        for index, (channels, depth) in enumerate(zip(dims, spec['depths'])):
            blocks = []
            if index:
                blocks.append(SpikeConv(dims[index - 1], channels, 3, stride=2, **unit))
                stride *= 2
            patch = spec['patch_sizes'][index]
            native = dict(type='mmbsa.DualSpikeSelfAttention')
            if official_quirks:
                native['length'] = (img_size // stride // patch) ** 2
            for _ in range(depth):
                blocks += self._pair(channels, spec['num_heads'][index], patch, attention or native, spec['group_size'],
                                     next(rates), unit)
            self.stages.append(nn.Sequential(*blocks))
            self.feature_info.append(dict(num_chs=channels, reduction=stride))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
        self.finish()

    @staticmethod
    def _pair(channels: int, num_heads: int, patch: int, attention: dict, group_size: int, rate: float,
              unit: dict) -> list[nn.Module]:
        """An attention and a feed-forward block."""
        norm_cfg = unit['norm_cfg']
        attention = ProjectedAttention(
            channels, num_heads, attention, unit['neuron'], project=partial(SpikeConv, norm_cfg=norm_cfg),
            project_kv=partial(PatchConv, patch_size=patch, norm_cfg=norm_cfg) if patch > 1 else None,
            num_steps=unit['num_steps'])
        return [Residual(branch, channels, drop_path_rate=rate)
                for branch in (attention, GroupWiseFFN(channels, group_size, **unit))]

    @staticmethod
    def _default_neuron(kind: str) -> dict:
        tau = 'init_tau' if kind.endswith('ParametricLIFNode') else 'tau'
        return {'type': kind, tau: 2.0, 'detach_reset': True, 'surrogate_function': dict(type='ATan', alpha=2.0)}

    def _spec(self) -> dict:
        """``arch`` with its defaults, checked."""
        required = ('embed_dims', 'depths', 'num_heads', 'patch_sizes')
        unknown, missing = set(self.arch) - set(required) - set(self.defaults), set(required) - set(self.arch)
        if unknown or missing or len({len(self.arch[key]) for key in required}) != 1:
            raise ValueError(f'SpikingResformer: arch must hold {", ".join(required)}, one entry per stage each, and '
                             f'may hold {", ".join(self.defaults)}; got {self.arch}')
        spec = {**self.defaults, **self.arch}
        if spec['stem'] not in ('imagenet', '3x3'):
            raise ValueError(f"SpikingResformer: arch.stem must be 'imagenet' or '3x3', got {spec['stem']!r}")
        return spec
