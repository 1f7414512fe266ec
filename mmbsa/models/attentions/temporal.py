"""Temporal interaction module, TIM (Shen et al., IJCAI 2024): queries that remember those of the
steps before."""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbsa.models.attentions.base import build_attention
from mmbsa.models.neurons import build_neuron, ternary_neuron
from mmbsa.registry import MODELS
from mmbsa.spiking import AttentionKind, SpikeDomain, SpikingNeuron, domain_of


class TemporalInteraction(SpikingNeuron):
    r"""A recursion over the steps of spikes, whose convolution runs between tokens.

    .. math:: y_0 = q_0, \quad y_t = SN_{out}(\alpha\, SN_{in}(W * y_{t-1}) + (1 - \alpha)\, q_t)

    In every head the tokens are the channels of the convolution W, and it slides along the head's
    channels.

    Args:
        num_heads: of q.
        tokens: height and width of the map that W is made for. Maps of other sizes get W
            interpolated between both its tokens, with equal sums **[ours]**; the official code
            takes one size.
        neuron: config of both neurons, which must run step by step.
        source: what q may hold, for the domain.
        alpha: share of the past.
        in_threshold, out_threshold: of the neurons, where they have one.
        kernel_size: of W, odd.

    Raises:
        ValueError: a neuron that needs all steps at once, or an alpha outside [0, 1].
    """

    def __init__(
        self,
        num_heads: int,
        tokens: tuple[int, int],
        neuron: dict,
        source: SpikeDomain | None,
        alpha: float = 0.5,
        in_threshold: float = 0.3,
        out_threshold: float = 0.5,
        kernel_size: int = 5,
    ):
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f'attention.alpha={alpha} must lie in [0, 1]')
        self.num_heads, self.tokens, self.alpha, self.source = (
            num_heads,
            tuple(tokens),
            alpha,
            source,
        )
        count = self.tokens[0] * self.tokens[1]
        self.interactor = nn.Conv1d(count, count, kernel_size, padding=kernel_size // 2)
        self.in_neuron = build_neuron(neuron, v_threshold=in_threshold)
        self.out_neuron = build_neuron(neuron, v_threshold=out_threshold)
        if not isinstance(self.in_neuron, SpikingNeuron) or self.in_neuron.no_stream:
            raise ValueError(
                'TemporalAttention runs its neurons step by step, and '
                f'{type(self.in_neuron).__name__} '
                f'cannot: {self.in_neuron.no_stream}'
            )

    @property
    def domain(self) -> SpikeDomain | None:
        """What q holds at the first step, or what the output neuron emits."""
        fired = domain_of(self.out_neuron)
        if self.source is None or fired is None or self.source.unit != fired.unit:
            return None
        return SpikeDomain(
            min(self.source.low, fired.low), max(self.source.high, fired.high), fired.unit
        )

    def kernel(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Weight (N, N, k) and bias (N,) of the convolution for a map of the size."""
        weight, bias = self.interactor.weight, self.interactor.bias
        if size == self.tokens:
            return weight, bias
        for _ in range(2):  # between outputs, then between inputs
            maps = weight.permute(1, 2, 0).unflatten(2, self.tokens)  # (N, k, h, w)
            weight = (
                F.interpolate(maps, size, mode='bilinear')
                .flatten(2)
                .permute(2, 0, 1)
                .transpose(0, 1)
            )
        ratio = self.tokens[0] * self.tokens[1] / (size[0] * size[1])
        return weight * ratio, F.interpolate(
            bias.view(1, 1, *self.tokens), size, mode='bilinear'
        ).flatten()

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """(T, B, C, H, W) spikes -> (T, B, C, H, W) spikes, and the last output with both neurons'
        states."""
        past, inner, outer = (None, None, None) if state is None else state
        weight, bias = self.kernel((x.shape[3], x.shape[4]))
        outs = []
        for q in x:
            if past is None:
                past = q
            else:
                heads = (
                    past.flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3)
                )  # (B, heads, N, d)
                mixed = F.conv1d(heads.flatten(0, 1), weight, bias, padding=self.interactor.padding)
                mixed = (
                    mixed.unflatten(0, heads.shape[:2]).permute(0, 2, 1, 3).flatten(2)
                )  # (B, N, C): channels last
                mixed = mixed.unflatten(1, q.shape[2:]).permute(0, 3, 1, 2)
                spikes, inner = self.in_neuron.run(mixed.unsqueeze(0), inner)
                past, outer = self.out_neuron.run(
                    self.alpha * spikes + (1 - self.alpha) * q.unsqueeze(0), outer
                )
                past = past.squeeze(0)
            outs.append(past)
        return torch.stack(outs), (past, inner, outer)

    def extra_repr(self) -> str:
        """Sizes."""
        return f'num_heads={self.num_heads}, tokens={self.tokens}, alpha={self.alpha}'


class _Query(nn.Sequential):
    """A neuron of q, and what follows it."""

    @property
    def domain(self) -> SpikeDomain | None:
        return domain_of(self[-1])


@MODELS.register_module()
class TemporalAttention(AttentionKind):
    """Any kind of attention with :class:`TemporalInteraction` behind the neuron of q.

    Args:
        embed_dims, num_heads, value_dims, family_scale: handed to the kind.
        neuron: the family's neuron, used by the kind and the module; kinds with signed queries get
            its ternary twin in the module **[ours]**.
        attention: config of the kind; None is spiking self-attention.
        tokens, alpha, in_threshold, out_threshold, kernel_size: see :class:`TemporalInteraction`.
            The official code writes thresholds of 0.3 and 0.5 and runs with 1.0, see
            ``official_quirks`` of the families.

    With T = 1 the module does nothing, and its weights get no gradient.

    Raises:
        ValueError: a kind without a neuron for q, and what the module raises.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        neuron: dict,
        value_dims: int | None = None,
        family_scale: float | None = None,
        attention: dict | None = None,
        tokens: tuple[int, int] = (4, 4),
        alpha: float = 0.5,
        in_threshold: float = 0.3,
        out_threshold: float = 0.5,
        kernel_size: int = 5,
    ):
        super().__init__(embed_dims, num_heads, value_dims)
        self.attn = build_attention(
            deepcopy(attention or dict(type='mmbsa.SpikingSelfAttention')),
            embed_dims=embed_dims,
            num_heads=num_heads,
            value_dims=value_dims,
            neuron=neuron,
            family_scale=family_scale,
        )
        for name in ('uses_query', 'uses_value', 'key_ratio', 'pointwise', 'equal_widths'):
            setattr(self, name, getattr(self.attn, name))
        query = getattr(self.attn, 'q_neuron', None)
        if not isinstance(query, SpikingNeuron):
            raise ValueError(
                f'TemporalAttention acts on the spikes of q, and {type(self.attn).__name__} has '
                'none'
            )
        source = domain_of(query)
        signed = source is not None and source.signed
        self.attn.q_neuron = _Query(
            query,
            TemporalInteraction(
                num_heads,
                tokens,
                ternary_neuron(neuron) if signed else neuron,
                source,
                alpha,
                in_threshold,
                out_threshold,
                kernel_size,
            ),
        )

    @property
    def domain(self) -> SpikeDomain | None:
        """What the kind emits."""
        return self.attn.domain

    def forward(self, q: Tensor, k: Tensor, v: Tensor | None) -> Tensor:
        """As the kind's."""
        return self.attn(q, k, v)
