"""Spike-driven Transformer V1 (Yao et al., NeurIPS 2023)."""
from collections.abc import Sequence

from torch import nn

from mmbsa.models.backbones.columnar import ColumnarBackbone
from mmbsa.models.layers import Residual, SpikeConv, Timewise, max_pool
from mmbsa.registry import MODELS


@MODELS.register_module()
class SpikeDrivenTransformer(ColumnarBackbone):
    """Spike-driven Transformer V1: membrane shortcuts, and an attention of masks and additions.

    Every unit is neuron -> [pool] -> conv -> norm. Data flow, strides of images::

        stem: 3x3 conv (no neuron)                            (T,B,D/8,H,W)
        stages[0]: neuron, pool, 3x3 conv                     (T,B,D/4,H/2,W/2)     level 0
        stages[1]: neuron, pool, 3x3 conv                     (T,B,D/2,H/4,W/4)     level 1
        stages[2]: neuron, pool, 3x3 conv                     (T,B,D,H/8,W/8)       level 2
        stages[3]: pool (of potentials), x + 3x3 conv,        (T,B,D,H/16,W/16)     level 3
                   (x + SDSA(x), x + MLP(x)) x depth

    Feature maps are the real-valued residual stream. The official classifier averages it over positions, fires, and
    averages the logits over T. With ``mlp_ratio=1`` both units of the MLP have shortcuts of their own, as officially.

    Parameters are those of the official code without the talking-heads convolution of each block (num_heads squared),
    which its forward never uses.

    Args:
        arch: ``'depth-D'`` for ImageNet, ``'cifar-depth-D'`` (two pools), ``'cifar10dvs-2-256'`` (64 x 64 events, two
            pools, eroded attention), ``'dvs128-2-256'`` (gestures, three pools); or a dict, see
            :class:`ColumnarBackbone`, with ``erode`` (3 x 3 maxima around the products of the native attention).
        num_steps, in_channels, attention, neuron, drop_path_rate, norm_cfg, stem: see :class:`ColumnarBackbone`.
        official_quirks: erode the products over (tokens, channels of a head) instead of (height, width); the published
            CIFAR10-DVS weights depend on it.
        out_indices, frozen_stages, norm_eval, with_cp, init_cfg, encoder: see :class:`BaseSpikingBackbone`.
    """

    head_fires = True
    native_attention = 'mmbsa.SpikeDrivenSelfAttention'
    inner_shortcut = True
    defaults = dict(ColumnarBackbone.defaults, erode=False)
    arch_settings = {
        **{f'{depth}-{dims}': dict(embed_dims=dims, depth=depth, num_heads=8)
           for depth, dims in ((8, 384), (6, 512), (8, 512), (10, 512), (8, 768))},
        **{f'cifar-2-{dims}': dict(embed_dims=dims, depth=2, num_heads=8, pooling='0011') for dims in (256, 512)},
        'cifar10dvs-2-256': dict(embed_dims=256, depth=2, num_heads=8, pooling='0011', in_channels=2, erode=True),
        'dvs128-2-256': dict(embed_dims=256, depth=2, num_heads=8, pooling='0111', in_channels=2),
    }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def native(self) -> dict:
        """SDSA; on events with eroded products."""
        erode = 'official' if self.official_quirks else 'map'
        return dict(type=self.native_attention, erode=erode if self.spec['erode'] else None)

    def build_tokenizer(self, in_channels: int, dims: int, pooling: Sequence[bool],
                        unit: dict) -> tuple[nn.Module, list[nn.Module]]:
        """Spiking patch splitting; its last step adds the position as a function of the spikes around."""
        widths = (dims // 8, dims // 4, dims // 2, dims)
        stem = SpikeConv(in_channels, widths[0], 3, **{**unit, 'neuron': None})
        steps = [SpikeConv(c_in, c_out, 3, pool='before' if pool else None, **unit)
                 for c_in, c_out, pool in zip(widths, widths[1:], pooling)]
        last = Timewise(max_pool()) if pooling[3] else nn.Identity()
        return stem, [*steps, nn.Sequential(last, self.build_position(dims, unit))]

    def build_position(self, dims: int, unit: dict) -> nn.Module:
        """A convolution whose output is added."""
        return Residual(SpikeConv(dims, dims, 3, **unit), dims)
