"""Spikformer (Zhou et al., ICLR 2023): the first spiking transformer, with spike shortcuts; also
with SEMM and with TIM."""

from collections.abc import Sequence

from torch import nn

from mmbsa.models.backbones.isotropic import IsotropicBackbone
from mmbsa.models.backbones.recipes import CIFAR100, cifar, events, imagenet
from mmbsa.models.layers import Residual, SpikeConv, Timewise, init_convolutions, max_pool
from mmbsa.registry import MODELS

#: Spikformer with TIM: no bias after the attention, and neurons without a gradient between steps.
_TIM = dict(
    embed_dims=256,
    depth=2,
    num_heads=16,
    in_channels=2,
    scale=0.25,
    proj_bias=False,
    temporal=(4, 4),
    neuron='mmbsa.SLTTLIFNode',
)


@MODELS.register_module()
class Spikformer(IsotropicBackbone):
    """Backbone Spikformer: spiking patch splitting, a relative position code, and blocks with spike
    shortcuts.

    Every unit is conv -> norm -> neuron, so the feature maps are sums of spikes. Data flow, strides
    of images; a pool follows the neuron in the paper and precedes the next convolution here, which
    is the same::

        stem: 3x3 conv, neuron                              (T,B,D/8,H,W)
        stages[0]: pool, 3x3 conv, neuron                   (T,B,D/4,H/2,W/2)     level 0
        stages[1]: pool, 3x3 conv, neuron                   (T,B,D/2,H/4,W/4)     level 1
        stages[2]: pool, 3x3 conv, neuron                   (T,B,D,H/8,W/8)       level 2
        stages[3]: pool, x + neuron(norm(3x3 conv(x))),     (T,B,D,H/16,W/16)     level 3
                   (x + SSA(x), x + MLP(x)) x depth

    The parameters are those of the official code without the ones that its forward never uses: two
    LayerNorms per block (4 D each block), and for CIFAR10-DVS a position embedding (64 D) and a
    last LayerNorm (2 D).

    Args:
        arch: ``'depth-D'`` for ImageNet, ``'cifar-depth-D'`` (two pools, biased q, k and v),
            ``'dvs-2-256'``; the mixtures of spiking experts (SEMM, NeurIPS 2024) ``'semm-8-D'`` and
            ``'semm-cifar-4-384'``; with the temporal interaction module (TIM, IJCAI 2024)
            ``'tim-2-256'`` for events of 64 x 64 pixels and ``'tim-shd-2-256'`` for spoken digits
            as 16 x 16 maps. Or a dict as in :class:`IsotropicBackbone`, with the further keys
            ``linear_init`` (whether 1x1 convolutions are initialised like the linear layers of the
            CIFAR code: truncated normal, std 0.02, bias 0), ``experts`` (number of experts of the
            attention; the MLP is then an :class:`ExpertsMLP`) with ``expert_dims`` and
            ``depthwise_bias``, ``temporal`` (height and width of the feature map for which TIM is
            built) with ``alpha``, and ``neuron`` (type of the default neuron).
        stem: tokenizer, see :class:`IsotropicBackbone`; default 4.
        official_quirks: for SEMM, the memory of the router's map is reinterpreted as in the STEP
            benchmark; for TIM, the thresholds are 1.0, which the authors' code uses in place of
            those that it names. Default False.
        kwargs: arguments of :class:`BaseSpikingBackbone`.
    """

    shortcut = 'spike'
    recipes = {
        '': imagenet(1.0),
        'cifar': cifar(),
        'dvs-2-256': events(16, 128, 'cifar10dvs', 'dvs128'),
        'semm-cifar': cifar(CIFAR100, CIFAR100),
        'tim': events(10, 64, 'cifar10dvs', 'ncaltech101'),
        'tim-shd': events(10, 16, 'shd'),
    }
    defaults = dict(
        IsotropicBackbone.defaults,
        linear_init=False,
        experts=0,
        expert_dims=96,
        depthwise_bias=False,
        temporal=None,
        alpha=0.5,
        neuron='mmbsa.LIFNode',
    )
    arch_settings = {
        **{
            f'{depth}-{dims}': dict(embed_dims=dims, depth=depth, num_heads=8)
            for depth, dims in ((8, 384), (6, 512), (8, 512), (10, 512), (8, 768))
        },
        **{
            f'cifar-{depth}-{dims}': dict(
                embed_dims=dims,
                depth=depth,
                num_heads=heads,
                pooling='0011',
                qkv_bias=True,
                linear_init=True,
            )
            for depth, dims, heads in ((4, 256, 8), (2, 384, 12), (4, 384, 12))
        },
        'dvs-2-256': dict(embed_dims=256, depth=2, num_heads=16, in_channels=2, scale=0.25),
        **{
            f'semm-8-{dims}': dict(
                embed_dims=dims,
                depth=8,
                num_heads=8,
                mlp_ratio=dims // 3 * 16 / dims,
                experts=4,
                depthwise_bias=True,
            )
            for dims in (384, 512, 768)
        },
        'semm-cifar-4-384': dict(
            embed_dims=384,
            depth=4,
            num_heads=12,
            pooling='0011',
            qkv_bias=True,
            linear_init=True,
            experts=4,
        ),
        'tim-2-256': _TIM,
        'tim-shd-2-256': dict(_TIM, pooling='0011'),
    }

    def default_neuron(self) -> dict:
        """Return the config of a neuron of the arch's type; with TIM it has no gradient between
        steps."""
        return dict(super().default_neuron(), type=self.arch['neuron'])

    def default_attention(self) -> dict:
        """Return the config of spiking self-attention, alone, in experts, or with the temporal
        interaction module."""
        arch, attention = self.arch, super().default_attention()
        if arch['experts']:
            return dict(
                type='mmbsa.ExpertsAttention',
                num_experts=arch['experts'],
                expert_dims=arch['expert_dims'],
                scrambled=self.official_quirks,
            )
        if arch['temporal'] is None:
            return attention
        thresholds = (1.0, 1.0, 1.0) if self.official_quirks else (0.3, 0.5, 0.5)
        return dict(
            type='mmbsa.TemporalAttention',
            tokens=arch['temporal'],
            alpha=arch['alpha'],
            in_threshold=thresholds[0],
            out_threshold=thresholds[1],
            attention=dict(attention, out_threshold=thresholds[2]),
        )

    def default_mlp(self) -> dict | None:
        """Return the config of :class:`ExpertsMLP` if the arch has ``experts``, otherwise None."""
        return (
            dict(type='mmbsa.ExpertsMLP', depthwise_bias=self.arch['depthwise_bias'])
            if self.arch['experts']
            else None
        )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.arch['linear_init']:
            for block in self.stages[3][1:]:
                init_convolutions(block)

    def build_tokenizer(
        self, in_channels: int, dims: int, pooling: Sequence[bool], unit: dict
    ) -> tuple[nn.Module, list[nn.Module]]:
        """Return spiking patch splitting; its last step adds the relative position code.

        The arguments are those of :meth:`IsotropicBackbone.build_tokenizer`.
        """
        widths = (dims // 8, dims // 4, dims // 2, dims)
        stem = SpikeConv(in_channels, widths[0], 3, neuron_last=True, **unit)
        steps = [
            SpikeConv(c_in, c_out, 3, neuron_last=True, pool='before' if pool else None, **unit)
            for c_in, c_out, pool in zip(widths, widths[1:], pooling)
        ]
        last = Timewise(max_pool()) if pooling[3] else nn.Identity()
        return stem, [*steps, nn.Sequential(last, self.build_position(dims, unit))]

    def build_position(self, dims: int, unit: dict) -> nn.Module:
        """Return a convolution whose output is added to its input."""
        return Residual(SpikeConv(dims, dims, 3, neuron_last=True, **unit), dims)
