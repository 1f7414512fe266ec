"""QKFormer (Zhou et al., NeurIPS 2024): a hierarchy with Q-K token attention, and spiking
self-attention in the last stage."""

from collections.abc import Sequence

from torch import Tensor, nn

from mmbsa.models.backbones.base import BaseSpikingBackbone
from mmbsa.models.backbones.isotropic import SpikingTransformerBlock
from mmbsa.models.backbones.recipes import cifar, events, imagenet
from mmbsa.models.layers import SpikeConv, drop_path_rates, merge_time, split_time
from mmbsa.models.neurons import bind_steps
from mmbsa.registry import MODELS
from mmbsa.spiking import add


class DeformedEmbedding(nn.Module):
    """Patch embedding with a deformed shortcut (PEDS): units conv -> norm -> [pool] -> neuron, and
    a strided 1x1 unit as the shortcut.

    Data flow::

        x --> units before ``start` --+--> units from ``start`` --+--> sum of spikes
                                      +--> 1x1 conv, strided -----+

    Args:
        in_channels: C, channels of the input.
        widths: output channels of each unit.
        pooling: one digit per unit, 1 where the unit halves height and width.
        start: index of the first unit that the shortcut skips.
        unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int], pooling: str, start: int, unit: dict
    ):
        super().__init__()
        inputs = (in_channels, *widths)
        units = [
            SpikeConv(
                c_in, c_out, 3, neuron_last=True, pool='after' if digit == '1' else None, **unit
            )
            for c_in, c_out, digit in zip(inputs, widths, pooling)
        ]
        self.head = nn.Sequential(*units[:start])
        self.body = nn.Sequential(*units[start:])
        self.shortcut = SpikeConv(
            inputs[start],
            widths[-1],
            1,
            stride=2 ** pooling[start:].count('1'),
            neuron_last=True,
            **unit,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes (T, B, C', ceil(H / s), ceil(W / s)) for an input (T, B, C, H, W); s is 2
        to the number of pools."""
        x = self.head(x)
        return add(self.body(x), self.shortcut(x))


class BatchAsTime(nn.Module):
    """Run a neuron over T * B steps, one sample after the other, as in the training of QKFormer's
    published weights.

    The official code calls its last attention neuron with a tensor that is still flattened to (T *
    B, C, N). The membrane potential therefore continues from one sample to the next, and
    predictions depend on the order of the batch, also in evaluation.

    Args:
        neuron: the neuron module.
    """

    def __init__(self, neuron: nn.Module):
        super().__init__()
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes (T, B, C, H, W) for an input current (T, B, C, H, W)."""
        return split_time(self.neuron(merge_time(x)), len(x))


#: tokenizers: the first embedding and the later ones, as (channels divided by those of the stage,
#: pooling, start of the shortcut).
_IMAGENET = dict(first=((1 / 2, 1, 1), '110', 1), later=((1, 1), '10', 0))
_CIFAR = dict(first=((1 / 2, 1), '00', 1), later=((1, 1), '01', 0))
_DVS = dict(first=((1 / 8, 1 / 4, 1 / 2, 1), '0111', 2), later=((1, 1), '01', 0))


@MODELS.register_module()
class QKFormer(BaseSpikingBackbone):
    """Backbone QKFormer: Q-K token attention in the early stages, spiking self-attention in the
    last stage, spike shortcuts.

    Every unit is conv -> norm -> [pool] -> neuron, so the feature maps are sums of spikes. Data
    flow, ImageNet::

        stem: PEDS, two pools                                   (T,B,D/4,H/4,W/4)
        stages[0]: (x + QKTA(x), x + MLP(x)) x 1                (T,B,D/4,H/4,W/4)     level 0
        stages[1]: PEDS, one pool, (QKTA, MLP) x 2              (T,B,D/2,H/8,W/8)     level 1
        stages[2]: PEDS, one pool, (SSA, MLP) x 7               (T,B,D,H/16,W/16)     level 2

    Presets for CIFAR keep the resolution in the stem (strides 1, 2, 4); presets for events have two
    stages (strides 8, 16).

    The last stage of the official code has two mistakes. Its output neuron runs over T * B steps,
    and published weights depend on that (see :class:`BatchAsTime` and ``official_quirks``). Its
    result is reshaped to (W, H), which changes nothing for square maps and fails for others; this
    class supports any height and width. The parameters are exactly those of the official code.

    Args:
        arch: ``'10-D'`` for ImageNet, ``'cifar-4-384'``, ``'dvs-2-256'`` (CIFAR10-DVS, MLP ratio
            1), ``'gesture-2-256'`` (DVS128 Gesture, ratio 4); or a dict with ``embed_dims`` (one
            per stage, each twice the one before), ``depths``, ``num_heads`` and ``tokenizer``
            (``first`` and ``later``: channels divided by those of the stage, pooling digits, index
            of the unit where the shortcut starts), and optionally ``mlp_ratio``, ``in_channels``.
        num_steps: T, the number of time steps; all published results use 4 for images and 16 for
            events.
        attention: config of the attention kind of the last stage; None (default) is spiking
            self-attention.
        qk_attention: config of the attention kind of the earlier stages; None (default) is Q-K
            token attention.
        official_quirks: whether the output neuron of the attention in the last stage runs over T *
            B steps, on which published weights depend; default False.
        kwargs: arguments of :class:`BaseSpikingBackbone`. Official code has no stochastic depth.
    """

    default_arch = '10-384'
    recipes = {
        '': imagenet(224 / 256),
        'cifar': cifar(),
        'dvs': events(16, 128, 'cifar10dvs'),
        'gesture': events(16, 128, 'dvs128'),
    }
    required = ('embed_dims', 'depths', 'num_heads', 'tokenizer')
    defaults = dict(mlp_ratio=4, in_channels=3)
    options = dict(qk_attention=None)
    small_arch = dict(embed_dims=(16, 32), depths=(1, 1), num_heads=2, tokenizer=_CIFAR)
    first_conv = 'stem.head.0.conv'
    arch_settings = {
        **{
            f'10-{dims}': dict(
                embed_dims=(dims // 4, dims // 2, dims),
                depths=(1, 2, 7),
                num_heads=dims // 64,
                tokenizer=_IMAGENET,
            )
            for dims in (384, 512, 768)
        },
        'cifar-4-384': dict(
            embed_dims=(96, 192, 384), depths=(1, 1, 2), num_heads=8, tokenizer=_CIFAR
        ),
        'dvs-2-256': dict(
            embed_dims=(128, 256),
            depths=(1, 1),
            num_heads=16,
            mlp_ratio=1,
            in_channels=2,
            tokenizer=_DVS,
        ),
        'gesture-2-256': dict(
            embed_dims=(128, 256), depths=(1, 1), num_heads=16, in_channels=2, tokenizer=_DVS
        ),
    }

    def check(self, spec: dict) -> None:
        """Check that an arch has a width and at least one block per stage.

        Args:
            spec: the arch as a dict, with all keys present.

        Raises:
            ValueError: ``depths`` and ``embed_dims`` differ in length, or a depth is less than 1.
        """
        if len(spec['embed_dims']) != len(spec['depths']) or min(spec['depths']) < 1:
            raise ValueError(
                'QKFormer: arch.depths must have an entry >= 1 for each entry of arch.embed_dims, '
                'got '
                f'depths={spec["depths"]} and embed_dims={spec["embed_dims"]}'
            )

    def build(self, spec: dict, unit: dict) -> tuple[nn.Module, list, list[tuple[int, int]]]:
        """Build an embedding and blocks per stage, with the first embedding as the stem; see
        :meth:`BaseSpikingBackbone.build`."""
        dims, depths = spec['embed_dims'], spec['depths']
        kind = bind_steps(self.options['qk_attention'], self.num_steps) or dict(
            type='mmbsa.QKTokenAttention'
        )
        kinds = [kind] * (len(dims) - 1) + [self.attention_cfg]
        rates = drop_path_rates(self.drop_path_rate, sum(depths))
        inputs, stride, stages, info = (self.in_channels, *dims), 1, [], []
        for stage, (c_in, c_out, depth, kind) in enumerate(zip(inputs, dims, depths, kinds)):
            widths, pooling, start = spec['tokenizer']['later' if stage else 'first']
            embedding = DeformedEmbedding(
                c_in, [int(c_out * width) for width in widths], pooling, start, unit
            )
            blocks = [
                SpikingTransformerBlock(
                    c_out,
                    spec['num_heads'],
                    kind,
                    unit,
                    'spike',
                    spec['mlp_ratio'],
                    family_scale=0.125,
                    drop_path_rate=rates.pop(0),
                )
                for _ in range(depth)
            ]
            if stage == 0:
                stem = embedding
            stages.append([embedding, *blocks] if stage else blocks)
            stride *= 2 ** pooling.count('1')
            info.append((c_out, stride))
        if self.official_quirks:
            for block in stages[-1][-depths[-1] :]:
                projected = block[0].branch
                projected.last_neuron = BatchAsTime(projected.last_neuron)
        return stem, stages, info
