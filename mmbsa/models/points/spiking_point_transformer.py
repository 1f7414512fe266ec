"""Spiking Point Transformer (SPT, AAAI 2025): attention between neighbours on clouds with fewer
points per level.

Data flow (S points per step, C = base_channels, P points of the cloud)::

    (B,P,d) -> encoder -> (T,B,S,d) -> stem C -> blocks -> [transition down -> blocks] x levels
                           S points             C, S       2^(i+1) C channels, P // 4^(i+1) points
"""

import inspect
from collections.abc import Sequence
from itertools import islice

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmbsa.models.layers import SpikeConv
from mmbsa.models.neurons import bind_steps, build_neuron
from mmbsa.models.points.attention import PointAttention
from mmbsa.models.points.encoders import PointEncoder
from mmbsa.models.points.geometry import (
    farthest_points,
    group,
    nearest_points,
    offsets,
    once_for_equal_steps,
    take,
)
from mmbsa.models.points.mixture import MixtureNode
from mmbsa.registry import MODELS, build_checked, resolve_type
from mmbsa.spiking import SpikingNeuron

#: LIF of the official model.
NEURON = dict(
    type='mmbsa.LIFNode',
    tau=2.0,
    v_threshold=0.5,
    v_reset=0.0,
    detach_reset=True,
    surrogate_function=dict(type='Sigmoid', alpha=4.0),
)


class PointBlock(nn.Module):
    """Attention block with a membrane shortcut: C -> D channels, q, k, v and position code,
    attention, D -> C channels.

    Args:
        channels: C, channels of input and output.
        dims: D, channels of the attention.
        num_neighbors: K, number of neighbours of a point.
        neuron: config of the neurons.
        mixture: config of the first neuron; None means ``neuron``.
        attention: config of the attention kind.
        norm_cfg: config of the norms.
        offset_gain: factor on normalised offsets, see :class:`SpikingPointTransformer`; default
            None.
    """

    def __init__(
        self,
        channels: int,
        dims: int,
        num_neighbors: int,
        neuron: dict | None,
        mixture: dict | None,
        attention: dict,
        norm_cfg: dict | None,
        offset_gain: float | None = None,
    ):
        super().__init__()
        self.num_neighbors, self.offset_gain = num_neighbors, offset_gain
        unit = dict(bias=True, neuron=neuron, norm_cfg=norm_cfg)
        self.reduce = SpikeConv(channels, dims, **{**unit, 'neuron': mixture or neuron})
        self.neuron = build_neuron(neuron)
        self.q, self.k, self.v = (
            SpikeConv(dims, dims, **{**unit, 'neuron': None}) for _ in range(3)
        )
        self.position = nn.Sequential(
            SpikeConv(3, dims, **unit), SpikeConv(dims, dims, **unit), build_neuron(neuron)
        )
        self.attention = build_checked(
            attention,
            PointAttention,
            'backbone.attention',
            MODELS,
            embed_dims=dims,
            neuron=neuron,
            norm_cfg=norm_cfg,
        )
        self.expand = SpikeConv(
            dims, channels, **{**unit, 'neuron': None}
        )  # the attention kind applies its output neuron before this unit

    def forward(self, xyz: Tensor, maps: Tensor) -> Tensor:
        """Return maps (T, B, C, N, 1).

        Args:
            xyz: coordinates (T, B, N, 3) of the points.
            maps: maps (T, B, C, N, 1).
        """
        index = once_for_equal_steps(
            lambda cloud: nearest_points(cloud, cloud, self.num_neighbors), xyz
        )
        position = self.position(scaled(offsets(xyz, xyz, index), self.offset_gain))
        x = self.neuron(self.reduce(maps))
        x = self.attention(self.q(x), self.k(x), self.v(x), position, index)
        return self.expand(x) + maps


class TransitionDown(nn.Module):
    """Downsampling of a cloud: sample points, group their neighbours, two spiking units, maximum
    over neighbours.

    Args:
        in_channels: channels of the input maps.
        out_channels: channels of the output maps.
        num_neighbors: K, number of neighbours of a point; if there are fewer points, all of them.
        neuron: config of the neurons.
        norm_cfg: config of the norms.
        random_start: whether every sampling in training starts at a random point; default False.
        offset_gain: factor on normalised offsets, see :class:`SpikingPointTransformer`; default
            None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_neighbors: int,
        neuron: dict | None,
        norm_cfg: dict | None,
        random_start: bool = False,
        offset_gain: float | None = None,
    ):
        super().__init__()
        self.num_neighbors, self.random_start, self.offset_gain = (
            num_neighbors,
            random_start,
            offset_gain,
        )
        unit = dict(bias=True, neuron=neuron, norm_cfg=norm_cfg)
        self.units = nn.Sequential(
            SpikeConv(in_channels + 3, out_channels, **unit),
            SpikeConv(out_channels, out_channels, **unit),
        )

    def forward(self, xyz: Tensor, maps: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the coordinates (T, B, count, 3) of the sampled points, and their maps (T, B, C',
        count, 1).

        Args:
            xyz: coordinates (T, B, N, 3) of the points.
            maps: maps (T, B, C, N, 1).
            count: number of points to sample.
        """
        random_start = self.random_start and self.training
        chosen = once_for_equal_steps(
            lambda cloud: farthest_points(cloud, count, random_start), xyz
        )
        centres = take(xyz, chosen)
        index = once_for_equal_steps(
            lambda few, cloud: nearest_points(few, cloud, self.num_neighbors), centres, xyz
        )
        # neighbour minus centre, then the features, concatenated with channels last in memory
        parts = (scaled(-offsets(centres, xyz, index), self.offset_gain), group(maps, index))
        near = torch.cat([part.permute(0, 1, 3, 4, 2) for part in parts], -1).permute(0, 1, 4, 2, 3)
        # max, not amax: for equal neighbours the gradient goes to the nearest, as in the official
        # code
        return centres, self.units(near).max(-1, keepdim=True).values


def scaled(offset: Tensor, gain: float | None) -> Tensor:
    """Return offsets (T, B, 3, M, K) divided by their mean length in a cloud and multiplied by
    ``gain``; None returns them unchanged."""
    if gain is None:
        return offset
    length = offset.square().sum(2, keepdim=True).sqrt().mean((2, 3, 4), keepdim=True)
    return offset * (gain / length.clamp(min=1e-6))


@MODELS.register_module()
class SpikingPointTransformer(BaseModule):
    """Backbone for point clouds, with membrane shortcuts.

    Args:
        in_channels: d, channels of a point: 3 for coordinates, 6 with normals (default).
        base_channels: C; level i has 2^i C channels; default 32.
        embed_dims: D, channels of every attention; default 512.
        num_neighbors: K, number of neighbours of a point; default 16.
        depths: number of blocks per level; the first level has all points of the encoder; default
            (1, 1, 1, 1, 1).
        encoder: config of a point encoder, which contains T.
        neuron: config of all neurons but the mixture neurons.
        mixture: config of the first neuron of every block; None means ``neuron``.
        attention: config of the attention kind: ``mmbsa.PointVectorAttention`` or
            ``mmbsa.BipolarPointAttention``.
        norm_cfg: config of the norms.
        offset_gain: factor on offsets between neighbours, after a division by their mean length in
            the cloud **[ours]**. None (default) does not change the offsets. They reach their
            neurons without a norm, and the threshold is 0.5, so that in clouds of radius 1 these
            neurons emit almost no spikes.
        random_start: whether every farthest point sampling in training starts at a random point;
            default False. In evaluation it starts at the first point, so that results are
            deterministic.
        out_indices: indices of the levels to return; None (default) means the last one.
        official_quirks: whether to reproduce the mistakes of the official code in encoder and
            mixture neurons, see :class:`PointQueueEncoder` and :class:`MixtureNode`; default False.
        init_cfg: initialisation config of OpenMMLab; default None.

    Raises:
        ValueError: clouds have another number of channels, or too few points for the levels.
    """

    def __init__(
        self,
        in_channels: int = 6,
        base_channels: int = 32,
        embed_dims: int = 512,
        num_neighbors: int = 16,
        depths: Sequence[int] = (1, 1, 1, 1, 1),
        encoder: dict | None = None,
        neuron: dict | None = None,
        mixture: dict | str | None = 'default',
        attention: dict | None = None,
        norm_cfg: dict | None = None,
        offset_gain: float | None = None,
        random_start: bool = False,
        out_indices: Sequence[int] | None = None,
        official_quirks: bool = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        norm_cfg = norm_cfg or dict(type='BN')
        self.in_channels, self.official_quirks = in_channels, official_quirks
        encoder = encoder or dict(type='mmbsa.PointQueueEncoder')
        known = inspect.signature(
            resolve_type(encoder, PointEncoder, 'backbone.encoder', MODELS).__init__
        ).parameters
        told = dict(random_start=random_start, official_quirks=official_quirks)
        self.encoder = build_checked(
            encoder,
            PointEncoder,
            'backbone.encoder',
            MODELS,
            **{key: value for key, value in told.items() if key in known},
        )
        self.num_steps = self.encoder.num_steps
        neuron, mixture, attention = (
            bind_steps(cfg, self.num_steps)
            for cfg in (
                neuron or NEURON,
                dict(type='mmbsa.MixtureNode') if mixture == 'default' else mixture,
                attention or dict(type='mmbsa.PointVectorAttention'),
            )
        )
        self.channels = [base_channels * 2**level for level in range(len(depths))]
        if base_channels < 1 or not depths or min(depths) < 0:
            raise ValueError(
                f'{type(self).__name__}: base_channels={base_channels} must be positive and '
                f'depths={tuple(depths)} not negative'
            )
        self.out_indices = (len(depths) - 1,) if out_indices is None else tuple(out_indices)
        if not all(0 <= level < len(depths) for level in self.out_indices):
            raise ValueError(
                f'{type(self).__name__}: out_indices must be in 0..{len(depths) - 1}, got '
                f'{self.out_indices}'
            )
        self.out_channels = [self.channels[level] for level in self.out_indices]
        unit = dict(bias=True, norm_cfg=norm_cfg)
        self.stem = nn.Sequential(
            SpikeConv(in_channels, base_channels, neuron=None, **unit),
            SpikeConv(base_channels, base_channels, neuron=neuron, **unit),
        )
        self.downs = nn.ModuleList(
            TransitionDown(few, many, num_neighbors, neuron, norm_cfg, random_start, offset_gain)
            for few, many in zip(self.channels, self.channels[1:])
        )
        self.depths = tuple(depths)
        self.blocks = nn.ModuleList(
            PointBlock(
                channels,
                embed_dims,
                num_neighbors,
                neuron,
                self._mixture(mixture, channels),
                attention,
                norm_cfg,
                offset_gain,
            )
            for channels, depth in zip(self.channels, depths)
            for _ in range(depth)
        )

    def _mixture(self, cfg: dict | None, channels: int) -> dict | None:
        """Return the config of the mixture neuron with T, channels and ``official_quirks`` of the
        backbone."""
        if cfg is None:
            return None
        cls = resolve_type(cfg, nn.Module, 'backbone.mixture', MODELS, SpikingNeuron)
        told = (
            dict(channels=channels, official_quirks=self.official_quirks)
            if issubclass(cls, MixtureNode)
            else {}
        )
        return {**told, **cfg}

    def forward(self, points: Tensor) -> tuple[Tensor, ...]:
        """Return maps (T, B, 2^i C, P // 4^i, 1) of the levels i in ``out_indices`` for clouds (B,
        P, d).

        Level 0 has the S points of the encoder.
        """
        if points.ndim != 3 or points.size(-1) != self.in_channels:
            raise ValueError(
                f'{type(self).__name__}: expected clouds (B, P, {self.in_channels}) '
                f'(backbone.in_channels), got {tuple(points.shape)}'
            )
        total, steps = points.size(1), self.encoder(points)
        if total < 4 ** len(self.downs):
            raise ValueError(
                f'{type(self).__name__}: {len(self.downs)} levels need clouds of at least '
                f'{4 ** len(self.downs)} points, got {total}'
            )
        xyz = steps[..., :3]
        maps = self.stem(steps.transpose(2, 3).unsqueeze(-1))
        outs, blocks = [], iter(self.blocks)
        for level, depth in enumerate(self.depths):
            if level:
                count = min(total // 4**level, xyz.size(2))
                xyz, maps = self.downs[level - 1](xyz, maps, count)
            for block in islice(blocks, depth):
                maps = block(xyz, maps)
            if level in self.out_indices:
                outs.append(maps)
        return tuple(outs)
