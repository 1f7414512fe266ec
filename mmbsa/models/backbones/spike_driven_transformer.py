"""Spike-driven Transformer V1 (Yao et al., NeurIPS 2023)."""

from collections.abc import Sequence

from torch import nn

from mmbsa.models.backbones.isotropic import IsotropicBackbone
from mmbsa.models.backbones.recipes import CIFAR100, cifar, events, imagenet
from mmbsa.models.backbones.tokenizers import membrane_splitting
from mmbsa.models.layers import Residual, SpikeConv, init_convolutions
from mmbsa.registry import MODELS


@MODELS.register_module()
class SpikeDrivenTransformer(IsotropicBackbone):
    """Backbone Spike-driven Transformer V1: membrane shortcuts, and an attention with masks and
    additions only.

    Every unit is neuron -> [pool] -> conv -> norm. Data flow, strides of images::

        stem: 3x3 conv (no neuron)                            (T,B,D/8,H,W)
        stages[0]: neuron, pool, 3x3 conv                     (T,B,D/4,H/2,W/2)     level 0
        stages[1]: neuron, pool, 3x3 conv                     (T,B,D/2,H/4,W/4)     level 1
        stages[2]: neuron, pool, 3x3 conv                     (T,B,D,H/8,W/8)       level 2
        stages[3]: pool (of potentials), x + 3x3 conv,        (T,B,D,H/16,W/16)     level 3
                   (x + SDSA(x), x + MLP(x)) x depth

    The feature maps are real-valued membrane potentials. The official classifier averages them over
    positions, applies a neuron, and averages the logits over T. With ``mlp_ratio=1`` each unit of
    the MLP has its own shortcut, as in the official code.

    The parameters are those of the official code without the talking-heads convolution of each
    block (num_heads squared), which its forward never uses.

    Args:
        arch: ``'depth-D'`` for ImageNet, ``'cifar-depth-D'`` (two pools), ``'cifar10dvs-2-256'``
            (64 x 64 events, two pools, dilated attention), ``'dvs128-2-256'`` (gestures, three
            pools); or a dict as in :class:`IsotropicBackbone`, with the further key ``dilate``
            (whether the family's own attention applies 3 x 3 maxima around its products).
        stem: tokenizer, see :class:`IsotropicBackbone`; default 4.
        official_quirks: whether the 3 x 3 maxima of the products run over (tokens, channels of a
            head) instead of (height, width); default False. The published CIFAR10-DVS weights
            depend on it.
        kwargs: arguments of :class:`BaseSpikingBackbone`.
    """

    head_neuron = True
    attention = dict(type='mmbsa.SpikeDrivenSelfAttention')
    inner_shortcut = True
    defaults = dict(IsotropicBackbone.defaults, dilate=False)
    recipes = {
        '': imagenet(0.95),
        'cifar': cifar(cifar100=CIFAR100),
        'cifar10dvs': events(10, 64, 'cifar10dvs'),
        'dvs128': events(16, 128, 'dvs128'),
    }
    arch_settings = {
        **{
            f'{depth}-{dims}': dict(embed_dims=dims, depth=depth, num_heads=8)
            for depth, dims in ((8, 384), (6, 512), (8, 512), (10, 512), (8, 768))
        },
        **{
            f'cifar-2-{dims}': dict(embed_dims=dims, depth=2, num_heads=8, pooling='0011')
            for dims in (256, 512)
        },
        'cifar10dvs-2-256': dict(
            embed_dims=256, depth=2, num_heads=8, pooling='0011', in_channels=2, dilate=True
        ),
        'dvs128-2-256': dict(embed_dims=256, depth=2, num_heads=8, pooling='0111', in_channels=2),
    }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        init_convolutions(self)

    def default_attention(self) -> dict:
        """Return the config of SDSA, with 3 x 3 maxima if the arch has ``dilate``."""
        dilate = 'official' if self.official_quirks else 'map'
        return dict(super().default_attention(), dilate=dilate if self.arch['dilate'] else None)

    def build_tokenizer(
        self, in_channels: int, dims: int, pooling: Sequence[bool], unit: dict
    ) -> tuple[nn.Module, list[nn.Module]]:
        """Return spiking patch splitting; its last step adds a position code, a convolution of the
        spikes.

        The arguments are those of :meth:`IsotropicBackbone.build_tokenizer`.
        """
        return membrane_splitting(in_channels, dims, pooling, self.build_position(dims, unit), unit)

    def build_position(self, dims: int, unit: dict) -> nn.Module:
        """Return a convolution whose output is added to its input."""
        return Residual(SpikeConv(dims, dims, 3, **unit), dims)
