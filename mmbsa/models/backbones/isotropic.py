"""What isotropic spiking transformers share: a tokenizer of four steps, then equal blocks of one
width."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial

from torch import nn

from mmbsa.models.attentions import ProjectedAttention
from mmbsa.models.backbones.base import BaseSpikingBackbone
from mmbsa.models.backbones.tokenizers import STEMS, patch_stem, sequence_stem, two_conv_stem
from mmbsa.models.layers import Residual, SpikeConv, SpikeMLP, drop_path_rates
from mmbsa.models.neurons import bind_steps
from mmbsa.registry import MODELS, build_checked


def build_mlp(
    mlp: dict | None,
    channels: int,
    ratio: float,
    neuron_last: bool,
    unit: dict,
    bias: bool = True,
    inner_shortcut: bool = False,
) -> nn.Module:
    """The MLP of a config, or :class:`SpikeMLP` for None; ``bias`` and ``inner_shortcut`` are of
    the latter alone."""
    if mlp is None:
        return SpikeMLP(
            channels,
            ratio,
            bias=bias,
            neuron_last=neuron_last,
            inner_shortcut=inner_shortcut,
            **unit,
        )
    return build_checked(
        mlp,
        nn.Module,
        'backbone.mlp',
        MODELS,
        channels=channels,
        ratio=ratio,
        neuron_last=neuron_last,
        **unit,
    )


class SpikingTransformerBlock(nn.Sequential):
    """x + attention(x), then x + MLP(x).

    Args:
        channels: C.
        num_heads: of the attention.
        attention: config of the kind.
        unit: ``neuron`` and ``norm_cfg`` of every unit.
        shortcut: ``'membrane'``: units are neuron -> conv -> norm, and the stream is real-valued;
            ``'spike'``: units are conv -> norm -> neuron, and the stream is a growing sum of
            spikes.
        mlp_ratio: hidden channels of the MLP over C.
        qkv_bias: whether the projections to q, k and v have a bias.
        proj_bias, mlp_bias: whether the output projection and the MLP have one.
        family_scale: scale of the native attention.
        inner_shortcut: see :class:`SpikeMLP`.
        drop_path_rate: see :class:`Residual`.
        mlp: config of another MLP, such as ``dict(type='mmbsa.ExpertsMLP')``; it is handed
            ``channels``, ``ratio``, ``neuron_last`` and ``unit``. None is :class:`SpikeMLP`.

    Raises:
        ValueError: an unknown shortcut.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        attention: dict,
        unit: dict,
        shortcut: str = 'membrane',
        mlp_ratio: float = 4,
        qkv_bias: bool = False,
        family_scale: float | None = None,
        inner_shortcut: bool = False,
        drop_path_rate: float = 0.0,
        proj_bias: bool = True,
        mlp_bias: bool = True,
        mlp: dict | None = None,
    ):
        if shortcut not in ('membrane', 'spike'):
            raise ValueError(f"shortcut must be 'membrane' or 'spike', got {shortcut!r}")
        last = shortcut == 'spike'
        project = partial(SpikeConv, norm_cfg=unit['norm_cfg'])
        branches = [
            ProjectedAttention(
                channels,
                num_heads,
                attention,
                unit['neuron'],
                project=partial(project, bias=qkv_bias),
                project_out=partial(project, bias=proj_bias),
                family_scale=family_scale,
                neuron_first=not last,
                neuron_last=last,
            ),
            build_mlp(mlp, channels, mlp_ratio, last, unit, mlp_bias, inner_shortcut),
        ]
        super().__init__(
            *(Residual(branch, channels, drop_path_rate=drop_path_rate) for branch in branches)
        )


class IsotropicBackbone(BaseSpikingBackbone):
    """Template of the families with one width: Spikformer, Spikingformer, Spike-driven Transformer
    V1.

    Data flow, widths D/8, D/4, D/2, D; strides for ``pooling='1111'``::

        stem: 3x3 conv                      (T,B,D/8,H,W)
        stages[0]: [pool], 3x3 conv         (T,B,D/4,H/2,W/2)      level 0
        stages[1]: [pool], 3x3 conv         (T,B,D/2,H/4,W/4)      level 1
        stages[2]: [pool], 3x3 conv         (T,B,D,H/8,W/8)        level 2
        stages[3]: [pool], last step, block x depth   (T,B,D,H/16,W/16)   level 3

    ``arch`` is a preset, or a dict with ``embed_dims`` (D), ``depth`` and ``num_heads``, and
    optionally ``mlp_ratio``, ``pooling`` (four digits, 1 where a step of the tokenizer halves the
    map), ``in_channels``, ``tau`` (of the default neuron), ``scale`` (of the native attention),
    ``qkv_bias``, ``proj_bias``, ``img_size`` (of ``stem=1``), ``tokens`` (of ``stem='sequence'``)
    and what the family adds.

    Args:
        stem: tokenizers of the STEP benchmark's ablations, all of the same total stride: 4 is the
            family's own; 2 has two 3 x 3 convolutions; 1 a single convolution of patches and a
            learned position; ``'sequence'`` four of kernel 5 along sequences (B, C, 1, L), the
            digits of ``pooling`` telling which halve it, pooled to ``tokens``. With 2 and 1 the
            backbone has one level, with ``'sequence'`` three.
        mlp: config of the blocks' MLP; None is the family's own. With
            ``mlp=dict(type='mmbsa.ExpertsMLP')`` and
            ``attention=dict(type='mmbsa.ExpertsAttention')`` any family is a mixture of spiking
            experts (SEMM).
        kwargs: see :class:`BaseSpikingBackbone`. Official codes never apply ``drop_path_rate``.
    """

    #: ``'membrane'`` or ``'spike'``, see :class:`SpikingTransformerBlock`.
    shortcut = 'membrane'
    #: whether the units of an MLP of ratio 1 have shortcuts of their own.
    inner_shortcut = False
    default_arch = '8-512'
    required = ('embed_dims', 'depth', 'num_heads')
    defaults = dict(
        mlp_ratio=4,
        pooling='1111',
        in_channels=3,
        tau=2.0,
        scale=0.125,
        qkv_bias=False,
        proj_bias=True,
        img_size=32,
        tokens=64,
    )
    options = dict(stem=4, mlp=None)
    small_arch = dict(embed_dims=32, depth=1, num_heads=2)

    def check(self, spec: dict) -> None:
        """Width and pooling."""
        name = type(self).__name__
        if spec['embed_dims'] % 8:
            raise ValueError(
                f'{name}: arch.embed_dims={spec["embed_dims"]} must be a multiple of 8, as the '
                'tokenizer '
                'starts with an eighth of it'
            )
        if len(spec['pooling']) != 4 or set(spec['pooling']) - {'0', '1'}:
            raise ValueError(
                f"{name}: arch.pooling must be four digits 0 or 1, such as '1111', got "
                f'{spec["pooling"]!r}'
            )

    def default_neuron(self) -> dict:
        """LIF with the arch's tau."""
        return dict(super().default_neuron(), tau=self.arch['tau'])

    def build(self, spec: dict, unit: dict) -> tuple[nn.Module, list, list[tuple[int, int]]]:
        """Tokenizer and blocks."""
        self.mlp_cfg = bind_steps(
            deepcopy(self.options['mlp']) or self.default_mlp(), self.num_steps
        )
        dims, pooling = spec['embed_dims'], [bool(int(digit)) for digit in spec['pooling']]
        stem, steps, widths, strides = self._tokenizer(self.options['stem'], dims, pooling, unit)
        blocks = [
            self.build_block(spec, unit, rate)
            for rate in drop_path_rates(self.drop_path_rate, spec['depth'])
        ]
        stages = [[step] for step in steps[:-1]] + [[steps[-1], *blocks]]
        return stem, stages, list(zip(widths, strides))

    def build_block(self, spec: dict, unit: dict, drop_path_rate: float) -> nn.Module:
        """One transformer block."""
        return SpikingTransformerBlock(
            spec['embed_dims'],
            spec['num_heads'],
            self.attention_cfg,
            unit,
            self.shortcut,
            spec['mlp_ratio'],
            spec['qkv_bias'],
            spec['scale'],
            self.inner_shortcut and spec['mlp_ratio'] == 1,
            drop_path_rate,
            spec['proj_bias'],
            mlp=self.mlp_cfg,
        )

    def default_mlp(self) -> dict | None:
        """Config of the family's MLP for ``self.arch``; None is :class:`SpikeMLP`."""
        return None

    def _tokenizer(
        self, stem: int | str, dims: int, pooling: Sequence[bool], unit: dict
    ) -> tuple[nn.Module, list[nn.Module], Sequence[int], Sequence[int]]:
        """First module, the steps that end a level, and the levels' widths and strides."""
        if stem not in tuple(STEMS):
            raise ValueError(
                f'{type(self).__name__}: stem must be one of {", ".join(map(repr, STEMS))}; got '
                f'{stem!r}'
            )
        spikes, strides = self.shortcut == 'spike', [2 ** sum(pooling[: i + 1]) for i in range(4)]
        if stem == 4:
            first, steps = self.build_tokenizer(self.in_channels, dims, pooling, unit)
            return first, steps, (dims // 4, dims // 2, dims, dims), strides
        if stem == 'sequence':
            first, steps = sequence_stem(
                self.in_channels,
                dims,
                pooling,
                self.arch['tokens'],
                spikes,
                self.build_position(dims, unit),
                unit,
            )
            return first, steps, (dims // 4, dims // 2, dims), strides[1:]
        if stem == 2:
            first, steps = two_conv_stem(
                self.in_channels, dims, sum(pooling), spikes, self.build_position(dims, unit), unit
            )
        else:
            first = patch_stem(
                self.in_channels, dims, strides[-1], self.arch['img_size'], spikes, unit
            )
            steps = [nn.Identity()]
        return first, steps, (dims,), strides[-1:]

    def build_tokenizer(
        self, in_channels: int, dims: int, pooling: Sequence[bool], unit: dict
    ) -> tuple[nn.Module, list[nn.Module]]:
        """The stem and the tokenizer's four steps, each from a time-major map to a time-major
        map."""
        raise NotImplementedError(f'{type(self).__name__} must define build_tokenizer')

    def build_position(self, dims: int, unit: dict) -> nn.Module:
        """The step that adds a position, for maps of D channels; families without one hand the map
        on."""
        return nn.Identity()
