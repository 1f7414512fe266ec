"""E-SpikeFormer large: the 83M and 171M models of Spike-driven Transformer V3 (Yao et al., TPAMI
2025)."""

from functools import partial

from torch import nn

from mmbsa.models.attentions import ProjectedAttention
from mmbsa.models.backbones.metaformer import MetaFormerBackbone
from mmbsa.models.backbones.recipes import imagenet
from mmbsa.models.layers import RepConv, Residual, SpikeMLP
from mmbsa.registry import MODELS


@MODELS.register_module()
class ESpikeFormerLarge(MetaFormerBackbone):
    """Backbone E-SpikeFormer large: two convolutional stages and one transformer stage with widened
    projections.

    Data flow of :class:`MetaFormerBackbone`, with embed_dims (C0, C1, C2) and a single transformer
    stage, and blocks::

        conv block:         x + conv 3x3(conv 3x3(x)), hidden 4 C, with bias
        transformer block:  [x + two 1x1 convolutions (83M only)],
                            x + scale * proj(SSA(q, k, v)), x + scale * MLP(x)

    Each of the projections q, k, v and proj is two 1x1 convolutions with 1.5 C channels in between,
    with norms and without a neuron in between. Every unit is neuron -> conv -> norm. The default
    attention is linear: K^T V is computed first, the scale is 0.125.

    Differences to the base model: counts are rounded half up, and the window of their gradient is
    open (0 < U < D). The official code of the 83M model cannot run, because names are missing in
    its block; its first branch is built as its code intends. Its published weights are reported to
    have 1.5 C hidden channels there too (``branch_ratio=1.5``).

    With ``layer_scale`` the parameters are exactly those of the official fine-tuning code with a
    1000-class head (82,502,952 and 170,971,714); pre-training has no layer scale.

    Args:
        arch: ``'12-512'`` (83M), ``'12-768'`` (171M, whose first width is 196),
            ``'12-768-pretrain'`` (the model of its pre-training, whose first width is 192), or a
            dict with ``embed_dims`` (three) and optional ``depths`` (one), ``num_heads``,
            ``mlp_ratio``, ``value_ratio``, ``branch_ratio`` (hidden channels of the extra branch
            divided by C, or None for no branch).
        num_steps: T, the number of time steps. The published protocol is T = 1 with D = 4 or 8
            levels.
        layer_scale: initial factor of the attention and MLP branches (1e-6 in fine-tuning); None
            (default) means no factor.
        official_quirks: accepted and not used; the rounding and window of the official code are
            arguments of the neuron.
        kwargs: arguments of :class:`BaseSpikingBackbone`. ``drop_path_rate`` (0.1 in fine-tuning)
            is applied to attention and MLP, as the official code does here.
    """

    distill_neuron = True
    classifier_args = dict(layer_scale=1e-6)
    default_arch = '12-512'
    neuron = dict(type='mmbsa.IntegerNode', levels=4, rounding='half_up', window='exclusive')
    recipes = {'': imagenet(0.875, num_steps=1)}
    options = dict(layer_scale=None)
    small_arch = dict(embed_dims=(8, 16, 16), depths=(1,), num_heads=2)
    arch_settings = {
        '12-512': dict(embed_dims=(128, 256, 512), branch_ratio=1.0),
        '12-768': dict(embed_dims=(196, 384, 768)),
        '12-768-pretrain': dict(embed_dims=(192, 384, 768)),
    }
    defaults = dict(depths=(12,), num_heads=8, mlp_ratio=4, value_ratio=1, branch_ratio=None)

    def conv_block(self, channels: int, spec: dict, unit: dict) -> nn.Module:
        """Return a convolution block of two 3x3 convolutions; arguments as in
        :meth:`MetaFormerBackbone.conv_block`."""
        return nn.Sequential(
            Residual(SpikeMLP(channels, spec['mlp_ratio'], kernel_size=3, **unit), channels)
        )

    def transformer_block(
        self, channels: int, drop_path_rate: float, spec: dict, unit: dict
    ) -> nn.Module:
        """Return a transformer block: two 1x1 convolutions if the arch has them, attention, MLP.

        The arguments are those of :meth:`MetaFormerBackbone.transformer_block`.
        """
        blocks = []
        if spec['branch_ratio'] is not None:
            blocks.append(
                Residual(
                    RepConv(
                        channels,
                        channels,
                        kernel_size=1,
                        ratio=spec['branch_ratio'],
                        last_norm=False,
                        **unit,
                    ),
                    channels,
                )
            )
        branches = (
            ProjectedAttention(
                channels,
                spec['num_heads'],
                self.attention_cfg,
                unit['neuron'],
                project=partial(RepConv, kernel_size=1, ratio=1.5, norm_cfg=unit['norm_cfg']),
                value_dims=spec['value_ratio'] * channels,
                family_scale=0.125,
            ),
            SpikeMLP(channels, spec['mlp_ratio'], **unit),
        )
        layer_scale = self.options['layer_scale']
        blocks += [
            Residual(b, channels, layer_scale=layer_scale, drop_path_rate=drop_path_rate)
            for b in branches
        ]
        return nn.Sequential(*blocks)
