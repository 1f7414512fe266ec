"""Common parts of isotropic spiking transformers: a tokenizer of four steps, then equal blocks with
the same number of channels."""

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
    """Build the MLP of a config, or :class:`SpikeMLP` for None.

    Args:
        mlp: config of the MLP, or None.
        channels: C, channels of input and output.
        ratio: hidden channels divided by C.
        neuron_last: whether the neuron comes last (spike shortcuts).
        unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
        bias: whether the convolutions of :class:`SpikeMLP` have a bias; default True.
        inner_shortcut: argument of :class:`SpikeMLP`; default False.
    """
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
    """Transformer block: x + attention(x), then x + MLP(x).

    Args:
        channels: C, channels of input and output.
        num_heads: number of heads of the attention.
        attention: config of the attention kind.
        unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
        shortcut: ``'membrane'`` (default): units are neuron -> conv -> norm, and shortcuts add
            real-valued membrane potentials. ``'spike'``: units are conv -> norm -> neuron, and
            shortcuts add spikes.
        mlp_ratio: hidden channels of the MLP divided by C; default 4.
        qkv_bias: whether the projections to q, k and v have a bias; default False.
        proj_bias: whether the output projection has a bias; default True.
        mlp_bias: whether the MLP has a bias; default True.
        family_scale: scale of the family's own attention; default None.
        inner_shortcut: whether each unit of the MLP has its own shortcut, see :class:`SpikeMLP`;
            default False.
        drop_path_rate: probability of stochastic depth, see :class:`Residual`; default 0.
        mlp: config of another MLP, such as ``dict(type='mmbsa.ExpertsMLP')``; it gets the arguments
            ``channels``, ``ratio``, ``neuron_last`` and those of ``unit``. None (default) is
            :class:`SpikeMLP`.

    Raises:
        ValueError: ``shortcut`` is unknown.
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
    """Base class of families whose blocks all have D channels: Spikformer, Spikingformer,
    Spike-driven Transformer V1, SWFormer.

    Data flow, widths D/8, D/4, D/2, D; strides for ``pooling='1111'``::

        stem: 3x3 conv                      (T,B,D/8,H,W)
        stages[0]: [pool], 3x3 conv         (T,B,D/4,H/2,W/2)      level 0
        stages[1]: [pool], 3x3 conv         (T,B,D/2,H/4,W/4)      level 1
        stages[2]: [pool], 3x3 conv         (T,B,D,H/8,W/8)        level 2
        stages[3]: [pool], last step, block x depth   (T,B,D,H/16,W/16)   level 3

    ``arch`` is a preset, or a dict with ``embed_dims`` (D), ``depth`` (number of blocks) and
    ``num_heads``. Optional keys are ``mlp_ratio``, ``pooling`` (four digits, 1 where a step of the
    tokenizer halves height and width), ``in_channels``, ``tau`` (of the default neuron), ``scale``
    (of the family's own attention), ``qkv_bias``, ``proj_bias``, ``img_size`` (side of the input in
    pixels, for ``stem=1``), ``tokens`` (number of tokens, for ``stem='sequence'``) and those of the
    family.

    Args:
        stem: the tokenizer; all have the same total stride, and those other than 4 are ablations of
            the STEP benchmark. 4 (default) is the family's own. 2 has two 3 x 3 convolutions. 1 has
            one convolution of non-overlapping patches and a learned position. ``'sequence'`` has
            four convolutions of kernel size 5 along sequences (B, C, 1, L); the digits of
            ``pooling`` select those that halve the length, and the output is pooled to ``tokens``.
            The backbone has one level with 2 and 1, and three levels with ``'sequence'``.
        mlp: config of the MLP of all blocks; None (default) is the family's own.
            ``mlp=dict(type='mmbsa.ExpertsMLP')`` and
            ``attention=dict(type='mmbsa.ExpertsAttention')`` turn any family into a mixture of
            spiking experts (SEMM).
        kwargs: arguments of :class:`BaseSpikingBackbone`. Official codes never apply
            ``drop_path_rate``.
    """

    #: ``'membrane'`` or ``'spike'``, see :class:`SpikingTransformerBlock`.
    shortcut = 'membrane'
    #: whether each unit of an MLP with ratio 1 has its own shortcut.
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
        """Check ``embed_dims`` and ``pooling`` of an arch.

        Args:
            spec: the arch as a dict, with all keys present.

        Raises:
            ValueError: ``embed_dims`` is not a multiple of 8, or ``pooling`` is not four digits 0
                or 1.
        """
        name = type(self).__name__
        if spec['embed_dims'] % 8:
            raise ValueError(
                f'{name}: arch.embed_dims={spec["embed_dims"]} must be a multiple of 8, because '
                'the first convolution has an eighth of its channels'
            )
        if len(spec['pooling']) != 4 or set(spec['pooling']) - {'0', '1'}:
            raise ValueError(
                f"{name}: arch.pooling must be four digits 0 or 1, such as '1111', got "
                f'{spec["pooling"]!r}'
            )

    def default_neuron(self) -> dict:
        """Return the config of the LIF neuron with the ``tau`` of the arch."""
        return dict(super().default_neuron(), tau=self.arch['tau'])

    def build(self, spec: dict, unit: dict) -> tuple[nn.Module, list, list[tuple[int, int]]]:
        """Build the tokenizer and the blocks; see :meth:`BaseSpikingBackbone.build`."""
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
        """Return one transformer block.

        Args:
            spec: the arch as a dict, with all keys present.
            unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
            drop_path_rate: probability of stochastic depth of this block.
        """
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
        """Return the config of the family's MLP for ``self.arch``; None is :class:`SpikeMLP`."""
        return None

    def _tokenizer(
        self, stem: int | str, dims: int, pooling: Sequence[bool], unit: dict
    ) -> tuple[nn.Module, list[nn.Module], Sequence[int], Sequence[int]]:
        """Return the first module, the modules that end a level, and the channels and strides of
        the levels."""
        if stem not in tuple(STEMS):
            raise ValueError(
                f'{type(self).__name__}: stem must be one of {", ".join(map(repr, STEMS))}, got '
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
        """Return the stem and the four steps of the tokenizer; input and output are time-major.

        Args:
            in_channels: channels of the input.
            dims: D, channels of the last step.
            pooling: four flags, true where a step halves height and width.
            unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
        """
        raise NotImplementedError(f'{type(self).__name__} must define build_tokenizer')

    def build_position(self, dims: int, unit: dict) -> nn.Module:
        """Return the module that adds a position code to maps of ``dims`` channels; an identity in
        families without one."""
        return nn.Identity()
