"""Meta-SpikeFormer: Spike-driven Transformer V2 (Yao et al., ICLR 2024)."""

from functools import partial

from torch import nn

from mmbsa.models.attentions import ProjectedAttention
from mmbsa.models.backbones.metaformer import MetaFormerBackbone
from mmbsa.models.backbones.recipes import imagenet
from mmbsa.models.layers import RepConv, Residual, SepSpikeConv, SpikeMLP
from mmbsa.registry import MODELS


@MODELS.register_module()
class MetaSpikeFormer(MetaFormerBackbone):
    """Backbone Meta-SpikeFormer: LIF neurons, separable convolutions, and attention with RepConv
    projections.

    Data flow of :class:`MetaFormerBackbone`, with embed_dims (C0, C1, C2, C3), and blocks::

        conv block:         x + reduce(depth-wise 7x7(expand(x))), x + conv 3x3(conv 3x3(x)) of 4 C
        transformer block:  x + RepConv(SSA(RepConv x 3 (x))), x + MLP(x)

    Every unit is neuron -> conv -> norm (membrane shortcuts). A separable convolution has neither
    norm nor neuron between its depth-wise and its last convolution. Parameters are exactly those of
    the official code.

    Args:
        arch: ``'15m'``, ``'8-384'`` (31M), ``'8-512'`` (55M), ``'8-768'`` (124M), or a dict with
            ``embed_dims`` (four) and optional ``depths`` (two), ``num_heads``, ``mlp_ratio``.
        num_steps: T, the number of time steps. Published weights were trained with T = 1 and
            fine-tuned with T = 4.
        norm_cfg: ``dict(type='BN')`` (default) or ``dict(type='SyncBN')``; RepConv needs running
            statistics.
        official_quirks: accepted and not used, because published weights depend on no mistake of
            the official code.
        kwargs: arguments of :class:`BaseSpikingBackbone`. The official code never applies
            ``drop_path_rate``.
    """

    default_arch = '8-512'
    recipes = {'': imagenet(224 / 256)}
    arch_settings = {
        '15m': dict(embed_dims=(64, 128, 256, 360)),
        '8-384': dict(embed_dims=(96, 192, 384, 480)),
        '8-512': dict(embed_dims=(128, 256, 512, 640)),
        '8-768': dict(embed_dims=(192, 384, 768, 960)),
    }

    def conv_block(self, channels: int, spec: dict, unit: dict) -> nn.Module:
        """Return a convolution block: a separable 7x7 convolution without inner neuron, then two
        3x3 convolutions.

        The arguments are those of :meth:`MetaFormerBackbone.conv_block`.
        """
        return nn.Sequential(
            Residual(SepSpikeConv(channels, 7, fused=True, **unit), channels),
            Residual(
                SpikeMLP(channels, spec['mlp_ratio'], kernel_size=3, bias=False, **unit), channels
            ),
        )

    def transformer_block(
        self, channels: int, drop_path_rate: float, spec: dict, unit: dict
    ) -> nn.Module:
        """Return a transformer block: attention with RepConv projections, then MLP.

        The arguments are those of :meth:`MetaFormerBackbone.transformer_block`.
        """
        branches = (
            ProjectedAttention(
                channels,
                spec['num_heads'],
                self.attention_cfg,
                unit['neuron'],
                project=partial(RepConv, norm_cfg=unit['norm_cfg']),
                family_scale=0.125,
            ),
            SpikeMLP(channels, spec['mlp_ratio'], **unit),
        )
        return nn.Sequential(
            *(Residual(branch, channels, drop_path_rate=drop_path_rate) for branch in branches)
        )
