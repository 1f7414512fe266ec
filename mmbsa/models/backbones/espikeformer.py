"""E-SpikeFormer, the base model of Spike-driven Transformer V3 (Yao et al., TPAMI 2025)."""

from functools import partial

from torch import nn

from mmbsa.models.attentions import ProjectedAttention
from mmbsa.models.backbones.metaformer import MetaFormerBackbone
from mmbsa.models.backbones.recipes import events, imagenet
from mmbsa.models.layers import Residual, SepSpikeConv, SpikeConv, SpikeMLP
from mmbsa.registry import MODELS


class ConvBlock(nn.Sequential):
    """Convolution block: x + separable 7x7 convolution, then x + two 3x3 convolutions with
    ``mlp_ratio`` times the channels in between.

    Args:
        channels: C, channels of input and output.
        mlp_ratio: hidden channels of the 3x3 convolutions divided by C.
        layer: arguments of :class:`Residual`: ``layer_scale`` and ``drop_path_rate``.
        unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
    """

    def __init__(self, channels: int, mlp_ratio: float, layer: dict, unit: dict):
        super().__init__(
            Residual(SepSpikeConv(channels, 7, **unit), channels, **layer),
            Residual(
                SpikeMLP(channels, mlp_ratio, kernel_size=3, bias=False, **unit), channels, **layer
            ),
        )


class TransformerBlock(nn.Sequential):
    """Transformer block: x + separable 3x3 convolution, then x + attention, then x + MLP.

    Args:
        channels: C, channels of input and output.
        num_heads: number of heads of the attention.
        value_ratio: channels of v divided by C.
        mlp_ratio: hidden channels of the MLP divided by C.
        attention: config of the attention kind.
        layer: arguments of :class:`Residual`: ``layer_scale`` and ``drop_path_rate``.
        unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
        with_conv: whether the block begins with the separable convolution; default True.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        value_ratio: int,
        mlp_ratio: float,
        attention: dict,
        layer: dict,
        unit: dict,
        with_conv: bool = True,
    ):
        branches = [SepSpikeConv(channels, 3, **unit)] if with_conv else []
        branches += [
            ProjectedAttention(
                channels,
                num_heads,
                attention,
                unit['neuron'],
                value_dims=value_ratio * channels,
                project=partial(SpikeConv, norm_cfg=unit['norm_cfg']),
                family_scale=2 * (channels / num_heads) ** -0.5,
            ),
            SpikeMLP(channels, mlp_ratio, **unit),
        ]
        super().__init__(*(Residual(branch, channels, **layer) for branch in branches))


#: arch keys of the event models and of the image models from the same code.
_STEPLESS = dict(decay=0.0, layer_scale=1e-6)


@MODELS.register_module()
class ESpikeFormer(MetaFormerBackbone):
    """Backbone E-SpikeFormer: two convolutional and two transformer stages with integer neurons.

    Data flow at H x W, embed_dims (C0, C1, C2, C3); ``down`` is neuron -> 3x3 conv -> norm::

        stem: 7x7 conv, stride 2 (no neuron)      (T,B,C0/2,H/2,W/2)
        stages[0]: ConvBlock                      (T,B,C0/2,H/2,W/2)    level 0
        stages[1]: down 2, ConvBlock              (T,B,C0,H/4,W/4)      level 1
        stages[2]: down 2, ConvBlock x 2          (T,B,C1,H/8,W/8)      level 2
        stages[3]: down 2, TransformerBlock x 6   (T,B,C2,H/16,W/16)    level 3
        stages[4]: down 1, TransformerBlock x 2   (T,B,C3,H/16,W/16)    level 4

    The feature maps are real-valued membrane potentials. The segmentation protocol uses the levels
    0, 1, 2, 4.

    Args:
        arch: ``'t'``, ``'s'`` (5.1M), ``'m'`` (10.0M), ``'l'`` (19.0M), or a dict with
            ``embed_dims`` (four) and optional ``depths`` (two), ``num_heads``, ``mlp_ratio``,
            ``value_ratio``, ``with_conv`` (whether transformer blocks begin with a separable
            convolution), ``in_channels``, and for the default neuron ``norm`` (divisor of the
            counts, None is D) and ``decay`` (share of the membrane potential that the next step
            keeps). ``'hardvs-19m'`` (300 actions of HAR-DVS) and ``'gesture-2'`` (11 gestures) are
            the event models, ``'scaling-30m'`` and ``'scaling-50m'`` the image models of the same
            code: their neurons have no memory (``decay=0``), and their residual branches have a
            layer scale.
        num_steps: T, the number of time steps. The published protocol is T = 1 with D = 4 levels.
            The T of the event models is not published; the default of 8 is **[ours]**.
        layer_scale: initial factor of the residual branches in transformer blocks (1e-6 in the
            segmentation protocol and the event models); None (default) means the value of the arch,
            which has none by default.
        kwargs: arguments of :class:`BaseSpikingBackbone`. Official code never applies
            ``drop_path_rate``.
    """

    default_arch = 'm'
    default_out_indices = (0, 1, 2, 4)
    neuron = dict(type='mmbsa.IntegerNode', levels=4)
    attention = dict(type='mmbsa.EfficientSpikeDrivenSelfAttention')
    recipes = {
        '': imagenet(224 / 232, num_steps=1),
        'hardvs': events(8, 224, 'hardvs'),
        'gesture': events(8, 224, 'dvs128'),
    }
    options = dict(layer_scale=None)
    arch_settings = {
        't': dict(embed_dims=(24, 48, 96, 128)),
        's': dict(embed_dims=(32, 64, 128, 192)),
        'm': dict(embed_dims=(48, 96, 192, 240)),
        'l': dict(embed_dims=(64, 128, 256, 360)),
        'hardvs-19m': dict(_STEPLESS, embed_dims=(64, 128, 256, 360), in_channels=2, norm=1),
        'gesture-2': dict(
            _STEPLESS, embed_dims=(64, 128, 256, 360), in_channels=2, norm=8, depths=(1, 0)
        ),
        'scaling-30m': dict(_STEPLESS, embed_dims=(96, 192, 384, 480)),
        'scaling-50m': dict(_STEPLESS, embed_dims=(120, 240, 480, 600)),
    }
    defaults = dict(
        MetaFormerBackbone.defaults,
        value_ratio=4,
        with_conv=True,
        in_channels=3,
        norm=None,
        decay=0.25,
        layer_scale=None,
    )

    def default_neuron(self) -> dict:
        """Return the config of the integer neuron with the ``norm`` and ``decay`` of the arch."""
        return dict(super().default_neuron(), norm=self.arch['norm'], decay=self.arch['decay'])

    def conv_block(self, channels: int, spec: dict, unit: dict) -> nn.Module:
        """Return a convolution block: a separable 7x7 convolution, then two 3x3 convolutions.

        Args:
            channels: C, channels of input and output (T, B, C, H, W).
            spec: the arch; ``mlp_ratio`` is used.
            unit: ``neuron`` and ``norm_cfg`` of all layers.
        """
        return ConvBlock(channels, spec['mlp_ratio'], {}, unit)

    def transformer_block(
        self, channels: int, drop_path_rate: float, spec: dict, unit: dict
    ) -> nn.Module:
        """Return a transformer block: separable 3x3 convolution, attention, MLP.

        Args:
            channels: C, channels of input and output (T, B, C, H, W).
            drop_path_rate: probability of stochastic depth of this block.
            spec: the arch as a dict, with all keys present.
            unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
        """
        scale = (
            spec['layer_scale']
            if self.options['layer_scale'] is None
            else self.options['layer_scale']
        )
        layer = dict(layer_scale=scale, drop_path_rate=drop_path_rate)
        return TransformerBlock(
            channels,
            spec['num_heads'],
            spec['value_ratio'],
            spec['mlp_ratio'],
            self.attention_cfg,
            layer,
            unit,
            spec['with_conv'],
        )
