"""Spikformer (Zhou et al., ICLR 2023): the first spiking transformer, spike shortcuts."""
from collections.abc import Sequence

from torch import nn

from mmbsa.models.backbones.isotropic import IsotropicBackbone
from mmbsa.models.backbones.recipes import cifar, events, imagenet
from mmbsa.models.layers import Residual, SpikeConv, Timewise, init_convolutions, max_pool
from mmbsa.registry import MODELS


@MODELS.register_module()
class Spikformer(IsotropicBackbone):
    """Spikformer: spiking patch splitting, relative position, and blocks whose shortcuts add spikes.

    Every unit is conv -> norm -> neuron, so the residual stream is a sum of spikes. Data flow, strides of images; pools
    follow the neuron in the paper and stand in front of the next convolution here, which is the same::

        stem: 3x3 conv, neuron                              (T,B,D/8,H,W)
        stages[0]: pool, 3x3 conv, neuron                   (T,B,D/4,H/2,W/2)     level 0
        stages[1]: pool, 3x3 conv, neuron                   (T,B,D/2,H/4,W/4)     level 1
        stages[2]: pool, 3x3 conv, neuron                   (T,B,D,H/8,W/8)       level 2
        stages[3]: pool, x + neuron(norm(3x3 conv(x))),     (T,B,D,H/16,W/16)     level 3
                   (x + SSA(x), x + MLP(x)) x depth

    Parameters are those of the official code without what its forward never uses: two LayerNorms per block (4 D each
    block), and for CIFAR10-DVS a position embedding (64 D) and a last LayerNorm (2 D).

    Args:
        arch: ``'depth-D'`` for ImageNet, ``'cifar-depth-D'`` (two pools, biased q, k and v), ``'dvs-2-256'``; or a dict,
            see :class:`IsotropicBackbone`, with ``linear_init`` (1x1 convolutions start as the linear layers of the CIFAR
            code do: truncated normal, std 0.02, bias 0).
        stem: see :class:`IsotropicBackbone`.
        kwargs: see :class:`BaseSpikingBackbone`.
    """

    shortcut = 'spike'
    recipes = {'': imagenet(1.0), 'cifar': cifar(), 'dvs-2-256': events(16, 128, 'cifar10dvs', 'dvs128')}
    defaults = dict(IsotropicBackbone.defaults, linear_init=False)
    arch_settings = {
        **{f'{depth}-{dims}': dict(embed_dims=dims, depth=depth, num_heads=8)
           for depth, dims in ((8, 384), (6, 512), (8, 512), (10, 512), (8, 768))},
        **{f'cifar-{depth}-{dims}': dict(embed_dims=dims, depth=depth, num_heads=heads, pooling='0011', qkv_bias=True,
                                         linear_init=True)
           for depth, dims, heads in ((4, 256, 8), (2, 384, 12), (4, 384, 12))},
        'dvs-2-256': dict(embed_dims=256, depth=2, num_heads=16, in_channels=2, scale=0.25),
    }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.arch['linear_init']:
            for block in self.stages[3][1:]:
                init_convolutions(block)

    def build_tokenizer(self, in_channels: int, dims: int, pooling: Sequence[bool],
                        unit: dict) -> tuple[nn.Module, list[nn.Module]]:
        """Spiking patch splitting; its last step adds the relative position."""
        widths = (dims // 8, dims // 4, dims // 2, dims)
        stem = SpikeConv(in_channels, widths[0], 3, neuron_last=True, **unit)
        steps = [SpikeConv(c_in, c_out, 3, neuron_last=True, pool='before' if pool else None, **unit)
                 for c_in, c_out, pool in zip(widths, widths[1:], pooling)]
        last = Timewise(max_pool()) if pooling[3] else nn.Identity()
        return stem, [*steps, nn.Sequential(last, self.build_position(dims, unit))]

    def build_position(self, dims: int, unit: dict) -> nn.Module:
        """A convolution whose output is added."""
        return Residual(SpikeConv(dims, dims, 3, neuron_last=True, **unit), dims)
