"""Transformer decoder of Spike2Former: cross-attention of queries to maps, and self-attention of
queries."""

import torch
from torch import Tensor, nn

from mmbsa.models.attentions import build_attention
from mmbsa.models.layers import SpikeConv
from mmbsa.models.neurons import build_neuron
from mmbsa.models.segmentation.heads.spike2former.feed_forward import FeedForward
from mmbsa.registry import MODELS

#: attention kind of Spike2Former: spikes without softmax; scores are divided by the square root of
#: all channels.
NATIVE = dict(type='mmbsa.EfficientSpikeDrivenSelfAttention')


def sine_positions(
    height: int, width: int, channels: int, device: torch.device | None = None
) -> Tensor:
    """Return the sine encoding of the positions of a map, (C, H, W) in float32 (DETR; temperature
    10000).

    The first C / 2 channels are for rows, the others for columns. Rows are counted from 1 and
    scaled so that the last one is 2 pi; columns likewise.

    Args:
        height: H, number of rows.
        width: W, number of columns.
        channels: C, a multiple of 4.
        device: device of the result; None (default) is torch's default.
    """
    half = channels // 2
    frequencies = 10000 ** (
        2 * (torch.arange(half, device=device, dtype=torch.float32) // 2) / half
    )
    parts = []
    for size in (height, width):
        places = torch.arange(1, size + 1, device=device, dtype=torch.float32)
        angles = (places / (size + 1e-6) * (2 * torch.pi))[:, None] / frequencies  # (size, C / 2)
        parts.append(torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), 2).flatten(1).T)
    rows, columns = parts
    return torch.cat(
        (rows[:, :, None].expand(-1, -1, width), columns[:, None, :].expand(-1, height, -1))
    )


class QueryAttention(nn.Module):
    """Cross-attention of queries to a map, or self-attention of queries, of any attention kind.

    Every projection has its own neuron. Positions are added to queries and keys only::

        query + position --neuron, 1x1 conv, norm--> q (T,B,C,Q,1)
        source + position --neuron, 1x1 conv, norm--> k (T,B,C,h,w)
        source --neuron, 1x1 conv, norm--> v (T,B,C,h,w)
        q, k, v --attention kind--> spikes --1x1 conv, norm--> (T,B,C,Q,1)

    Args:
        channels: C, channels of queries, source and output.
        num_heads: number of attention heads.
        attention: config of the attention kind.
        neuron: neuron config of the projections and the attention kind.
        norm_cfg: norm config of the projections.
        cross: True for cross-attention (``source`` is a map), False for self-attention (``source``
            is the queries).

    Raises:
        ValueError: ``cross`` with an attention kind that multiplies q and k position by position,
            or an attention kind that needs several queries or a gate.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        attention: dict,
        neuron: dict,
        norm_cfg: dict,
        cross: bool,
    ):
        super().__init__()
        # the official code divides scores by the square root of all channels, for any number of
        # heads
        self.attn = attn = build_attention(
            attention,
            embed_dims=channels,
            num_heads=num_heads,
            neuron=neuron,
            family_scale=channels**-0.5,
        )
        if cross and attn.pointwise:
            raise ValueError(
                f'{type(attn).__name__} multiplies q and k position by position, so it does not '
                'support cross-attention: use another kind in decode_head.cross_attention'
            )
        if attn.gate_dims or len(attn.query_dims) > 1:
            raise ValueError(
                f'{type(attn).__name__} needs several projections of q and a gate, which this head '
                'does not have: use another kind in decode_head.attention'
            )
        unit = dict(bias=True, norm_cfg=norm_cfg)
        self.q = (
            SpikeConv(channels, channels, neuron=neuron, **unit)
            if attn.uses_query
            else build_neuron(neuron)
        )
        self.k = SpikeConv(channels, channels * attn.key_ratio, neuron=neuron, **unit)
        self.v = SpikeConv(channels, channels, neuron=neuron, **unit) if attn.uses_value else None
        self.proj = SpikeConv(channels, channels, **unit)

    def forward(
        self, query: Tensor, source: Tensor, query_pos: Tensor, source_pos: Tensor
    ) -> Tensor:
        """Return the output (T, B, C, Q, 1).

        Args:
            query: queries (T, B, C, Q, 1).
            source: map or queries (T, B, C, h, w).
            query_pos: position code that broadcasts to ``query``.
            source_pos: position code that broadcasts to ``source``.
        """
        v = None if self.v is None else self.v(source)
        return self.proj(self.attn(self.q(query + query_pos), self.k(source + source_pos), v))


@MODELS.register_module()
class Spike2FormerDecoderLayer(nn.Module):
    """Decoder layer: query + cross-attention, query + self-attention, query + MLP; queries are
    real-valued.

    Args:
        channels: C, channels of queries and maps.
        num_heads: number of heads of both attentions; default 8.
        feedforward_channels: hidden channels of the MLP; default 2048.
        attention: config of the attention kind of self-attention; None (default) is that of
            Spike2Former.
        cross_attention: config of the attention kind of cross-attention; None (default) means
            ``attention``.
        neuron: config of the neurons.
        norm_cfg: config of the norms.
        official_quirks: whether the MLP reads queries and channels in the wrong order, as in the
            official code; default False.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int = 8,
        feedforward_channels: int = 2048,
        attention: dict | None = None,
        cross_attention: dict | None = None,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
        official_quirks: bool = False,
    ):
        super().__init__()
        attention = attention or NATIVE
        unit = dict(neuron=neuron, norm_cfg=norm_cfg or dict(type='BN'))
        self.cross_attn = QueryAttention(
            channels, num_heads, cross_attention or attention, cross=True, **unit
        )
        self.self_attn = QueryAttention(channels, num_heads, attention, cross=False, **unit)
        self.ffn = FeedForward(
            channels, feedforward_channels, misread='tokens' if official_quirks else None, **unit
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, query: Tensor, source: Tensor, query_pos: Tensor, source_pos: Tensor
    ) -> Tensor:
        """Return the new queries (T, B, C, Q, 1).

        Args:
            query: queries (T, B, C, Q, 1).
            source: map (T, B, C, h, w).
            query_pos: position code that broadcasts to ``query``.
            source_pos: position code that broadcasts to ``source``.
        """
        query = query + self.cross_attn(query, source, query_pos, source_pos)
        query = query + self.self_attn(query, query, query_pos, query_pos)
        return query + self.ffn(query)
