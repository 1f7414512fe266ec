"""Meta-SpikeFormer: Spike-driven Transformer V2 (Yao et al., ICLR 2024)."""
from collections.abc import Sequence
from functools import partial

from torch import nn

from mmbsa.models.attentions import ProjectedAttention
from mmbsa.models.backbones.columnar import lif
from mmbsa.models.backbones.metaformer import MetaFormerBackbone
from mmbsa.models.layers import RepConv, Residual, SepSpikeConv, SpikeMLP
from mmbsa.registry import MODELS


@MODELS.register_module()
class MetaSpikeFormer(MetaFormerBackbone):
    """Meta-SpikeFormer: LIF neurons, separable convolutions, and attention between RepConv projections.

    Data flow of :class:`MetaFormerBackbone`, with embed_dims (C0, C1, C2, C3), and blocks::

        conv block:         x + reduce(depth-wise 7x7(expand(x))), x + conv 3x3(conv 3x3(x)), hidden 4 C
        transformer block:  x + RepConv(SSA(RepConv x 3 (x))), x + MLP(x)

    Every unit is neuron -> conv -> norm (membrane shortcuts), but there is neither norm nor neuron between the
    depth-wise and the last convolution of the separable ones. Parameters are exactly those of the official code.

    Args:
        arch: ``'15m'``, ``'8-384'`` (31M), ``'8-512'`` (55M), ``'8-768'`` (124M), or a dict with ``embed_dims`` (four)
            and optional ``depths`` (two), ``num_heads``, ``mlp_ratio``.
        num_steps: T. Published weights were trained with T = 1 and fine-tuned with T = 4.
        in_channels: of the input.
        attention: kind of attention; None is the native one (K^T V first, scale 0.125, threshold 0.5).
        neuron: config of every neuron that the attention kind does not choose itself; None is LIF with tau 2.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0. The official code never applies it.
        norm_cfg: ``dict(type='BN')`` or ``dict(type='SyncBN')``; RepConv needs running statistics.
        out_indices: None returns all five levels.
        official_quirks: accepted as in every family; published weights depend on no mistake of the official code.
        frozen_stages, norm_eval, with_cp, init_cfg, encoder: see :class:`BaseSpikingBackbone`.
    """

    arch_settings = {
        '15m': dict(embed_dims=(64, 128, 256, 360)),
        '8-384': dict(embed_dims=(96, 192, 384, 480)),
        '8-512': dict(embed_dims=(128, 256, 512, 640)),
        '8-768': dict(embed_dims=(192, 384, 768, 960)),
    }

    def __init__(self, arch: str | dict = '8-512', num_steps: int = 4, in_channels: int = 3,
                 attention: dict | None = None, neuron: dict | None = None, drop_path_rate: float = 0.0,
                 norm_cfg: dict | None = None, out_indices: Sequence[int] | None = None, frozen_stages: int = -1,
                 norm_eval: bool = False, with_cp: bool = False, official_quirks: bool = False,
                 init_cfg: dict | None = None, encoder: dict | None = None):
        super().__init__(arch, num_steps, out_indices, frozen_stages, norm_eval, with_cp, init_cfg, encoder)
        spec = self.read_arch()
        unit = dict(neuron=neuron or lif(), norm_cfg=norm_cfg or dict(type='BN'), num_steps=num_steps)
        attention = attention or dict(type='mmbsa.SpikingSelfAttention')

        def conv_block(channels: int) -> nn.Module:
            return nn.Sequential(
                Residual(SepSpikeConv(channels, 7, fused=True, **unit), channels),
                Residual(SpikeMLP(channels, spec['mlp_ratio'], kernel_size=3, bias=False, **unit), channels))

        def transformer_block(channels: int, rate: float) -> nn.Module:
            branches = (
                ProjectedAttention(channels, spec['num_heads'], attention, unit['neuron'],
                                   project=partial(RepConv, norm_cfg=unit['norm_cfg']), host_scale=0.125,
                                   num_steps=num_steps),
                SpikeMLP(channels, spec['mlp_ratio'], **unit))
            return nn.Sequential(*(Residual(branch, channels, drop_path_rate=rate) for branch in branches))

        self.build_stages(spec, in_channels, drop_path_rate, unit, conv_block, transformer_block)
