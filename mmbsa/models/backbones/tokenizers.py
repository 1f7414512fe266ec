"""Tokenizers that replace the one of a family: with fewer convolutions, or one-dimensional for
sequences."""

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbsa.models.layers import SpikeConv, Timewise, max_pool
from mmbsa.models.neurons import build_neuron

#: the values of ``stem`` of an isotropic backbone.
STEMS = (4, 2, 1, 'sequence')


class PositionEmbedding(nn.Module):
    """Add a learned value per channel and position to a map.

    For a map of another size the values are resized.

    Args:
        channels: C, channels of the map.
        size: height and width of the map for which the values are stored.
    """

    def __init__(self, channels: int, size: tuple[int, int]):
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(channels, *size))
        nn.init.trunc_normal_(self.embedding, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map (T, B, C, H, W) plus the values."""
        embedding = self.embedding
        if embedding.shape[1:] != x.shape[3:]:
            embedding = F.interpolate(embedding[None], x.shape[3:], mode='bilinear')[0]
        return x + embedding


def membrane_splitting(
    in_channels: int, dims: int, pooling: Sequence[bool], position: nn.Module, unit: dict
) -> tuple[nn.Module, list[nn.Module]]:
    """Build spiking patch splitting with membrane shortcuts.

    It is a 3 x 3 convolution, then neuron -> [pool] -> 3 x 3 conv -> norm three times, with D/8,
    D/4, D/2 and D channels. The last step pools membrane potentials and adds the position code.

    Args:
        in_channels: channels of the input.
        dims: D, channels of the output.
        pooling: four flags, true where a step halves height and width.
        position: module of the family that adds the position code.
        unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
    """
    widths = (dims // 8, dims // 4, dims // 2, dims)
    stem = SpikeConv(in_channels, widths[0], 3, **{**unit, 'neuron': None})
    steps = [
        SpikeConv(c_in, c_out, 3, pool='before' if pool else None, **unit)
        for c_in, c_out, pool in zip(widths, widths[1:], pooling)
    ]
    last = Timewise(max_pool()) if pooling[3] else nn.Identity()
    return stem, [*steps, nn.Sequential(last, position)]


def patch_stem(
    in_channels: int, dims: int, stride: int, img_size: int, spikes: bool, unit: dict
) -> nn.Module:
    """Build the embedding of a vision transformer: one convolution of non-overlapping patches, and
    a learned position.

    Args:
        in_channels: channels of the input.
        dims: D, channels of the output.
        stride: side of a patch in pixels.
        img_size: side of the input in pixels for which the position embedding is built.
        spikes: whether a neuron comes last (spike shortcuts).
        unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
    """
    size = math.ceil(img_size / stride)
    conv = SpikeConv(
        in_channels, dims, stride, stride=stride, padding=0, **{**unit, 'neuron': None}
    )
    return nn.Sequential(
        conv,
        PositionEmbedding(dims, (size, size)),
        build_neuron(unit['neuron'] if spikes else None),
    )


def two_conv_stem(
    in_channels: int, dims: int, pools: int, spikes: bool, position: nn.Module, unit: dict
) -> tuple[nn.Module, list[nn.Module]]:
    """Build a stem of two 3 x 3 convolutions with D / 2 and D channels.

    Half of the pools are before the second convolution, the others after it.

    Args:
        in_channels: channels of the input.
        dims: D, channels of the output.
        pools: number of pools, each of which halves height and width.
        spikes: whether a neuron comes last (spike shortcuts).
        position: module that adds the position code, applied last.
        unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
    """

    def halve(times: int) -> list[nn.Module]:
        return [Timewise(max_pool()) for _ in range(times)]

    first = SpikeConv(
        in_channels,
        dims // 2,
        3,
        neuron_last=spikes,
        **unit if spikes else {**unit, 'neuron': None},
    )
    second = SpikeConv(dims // 2, dims, 3, neuron_last=spikes, **unit)
    # the neuron of the second convolution comes before the pool, so that spikes are pooled
    if not spikes:
        second.neuron, neuron = nn.Identity(), second.neuron
        return first, [
            nn.Sequential(neuron, *halve(pools - pools // 2), second, *halve(pools // 2), position)
        ]
    return first, [nn.Sequential(*halve(pools - pools // 2), second, *halve(pools // 2), position)]


def sequence_stem(
    in_channels: int,
    dims: int,
    strides: Sequence[bool],
    tokens: int | None,
    spikes: bool,
    position: nn.Module,
    unit: dict,
) -> tuple[nn.Module, list[nn.Module]]:
    """Build a stem of four one-dimensional convolutions for sequences (T, B, C, 1, L).

    The kernel size is 5. The channels after each convolution are D/8, D/4, D/2 and D.

    Args:
        in_channels: C, channels of the sequence.
        dims: D, channels of the output.
        strides: four flags; where the flag is true, the convolution halves the length.
        tokens: length of the output, reached by max pooling at the end; None does not pool.
        spikes: True puts the neuron after the norm of every convolution (spike shortcuts); False
            puts it before the convolution (membrane shortcuts).
        position: module that is applied last, the position code of the family.
        unit: ``neuron`` and ``norm_cfg`` of all convolutions.

    Returns:
        The first convolution, and a list of the three others; the last item includes pooling and
        ``position``.
    """
    widths = (in_channels, dims // 8, dims // 4, dims // 2, dims)
    conv = partial(SpikeConv, kernel_size=(1, 5), neuron_last=spikes)
    first, *others = [
        conv(
            c_in,
            c_out,
            stride=(1, 1 + stride),
            **unit if spikes or index else {**unit, 'neuron': None},
        )
        for index, (c_in, c_out, stride) in enumerate(zip(widths, widths[1:], strides))
    ]
    pool = nn.Identity() if tokens is None else Timewise(nn.AdaptiveMaxPool2d((1, tokens)))
    return first, [*others[:2], nn.Sequential(others[2], pool, position)]
