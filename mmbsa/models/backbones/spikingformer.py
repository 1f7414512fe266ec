"""Spikingformer (Zhou et al., 2023): Spikformer with membrane shortcuts; the family of the
ablations in the BSA paper."""

from collections.abc import Sequence

from torch import nn

from mmbsa.models.backbones.isotropic import IsotropicBackbone
from mmbsa.models.backbones.recipes import cifar, events, imagenet
from mmbsa.models.layers import SpikeConv
from mmbsa.registry import MODELS


@MODELS.register_module()
class Spikingformer(IsotropicBackbone):
    """Backbone Spikingformer: every unit is neuron -> [pool] -> conv -> norm, so the input of every
    convolution but the first is spikes.

    Data flow, strides of images::

        stem: 3x3 conv (no neuron)                      (T,B,D/8,H,W)
        stages[0]: neuron, pool, 3x3 conv               (T,B,D/4,H/2,W/2)     level 0
        stages[1]: neuron, pool, 3x3 conv               (T,B,D/2,H/4,W/4)     level 1
        stages[2]: neuron, pool, 3x3 conv               (T,B,D,H/8,W/8)       level 2
        stages[3]: neuron, pool, 3x3 conv,              (T,B,D,H/16,W/16)     level 3
                   (x + SSA(x), x + MLP(x)) x depth

    The feature maps are real-valued membrane potentials; the official classifier uses them without
    a neuron.

    The parameters are those of the official code without two LayerNorms per block (4 D) that its
    forward never uses.

    Args:
        arch: ``'depth-D'`` for ImageNet, ``'cifar-depth-D'`` (two pools; the ablation's is
            ``'cifar-4-384'``, 8 heads), ``'dvs-2-256'`` (tau 1.5); or a dict, see
            :class:`IsotropicBackbone`.
        stem: tokenizer, see :class:`IsotropicBackbone`; default 4.
        kwargs: arguments of :class:`BaseSpikingBackbone`.
    """

    recipes = {
        '': imagenet(1.0),
        'cifar': cifar(),
        'dvs-2-256': events(16, 128, 'cifar10dvs', 'dvs128'),
    }
    arch_settings = {
        **{
            f'{depth}-{dims}': dict(embed_dims=dims, depth=depth, num_heads=8)
            for depth, dims in ((8, 384), (8, 512), (8, 768))
        },
        **{
            f'cifar-{depth}-{dims}': dict(embed_dims=dims, depth=depth, num_heads=8, pooling='0011')
            for depth, dims in ((4, 256), (2, 384), (4, 384))
        },
        'dvs-2-256': dict(embed_dims=256, depth=2, num_heads=16, in_channels=2, tau=1.5),
    }

    def build_tokenizer(
        self, in_channels: int, dims: int, pooling: Sequence[bool], unit: dict
    ) -> tuple[nn.Module, list[nn.Module]]:
        """Return the tokenizer: a 3x3 convolution of the input, then four steps of neuron, optional
        pool, 3x3 convolution and norm.

        The arguments are those of :meth:`IsotropicBackbone.build_tokenizer`.
        """
        widths = (dims // 8, dims // 4, dims // 2, dims, dims)
        stem = SpikeConv(in_channels, widths[0], 3, **{**unit, 'neuron': None})
        return stem, [
            SpikeConv(c_in, c_out, 3, pool='before' if pool else None, **unit)
            for c_in, c_out, pool in zip(widths, widths[1:], pooling)
        ]
