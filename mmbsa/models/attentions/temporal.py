"""Temporal interaction module, TIM (Shen et al., IJCAI 2024): the queries of a step depend on those
of the previous step."""

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
    r"""A recursion over the time steps of the query spikes, with a convolution between tokens.

    .. math:: y_0 = q_0, \quad y_t = SN_{out}(\alpha\, SN_{in}(W * y_{t-1}) + (1 - \alpha)\, q_t)

    W is a 1D convolution, applied to each head alone. The tokens are its input and output channels;
    the kernel moves along the channels of the head.

    Args:
        num_heads: number of heads of q.
        tokens: height and width, in tokens, of the feature map for which W is built. For other
            sizes W is interpolated over its input and output tokens with equal sums **[ours]**; the
            official code supports one size.
        neuron: config of both neurons, which must support running step by step.
        source: domain of q, from which the domain of the output follows.
        alpha: weight of the previous step, 0 to 1; default 0.5.
        in_threshold: threshold of SN_in, if the neuron has one; default 0.3.
        out_threshold: threshold of SN_out, if the neuron has one; default 0.5.
        kernel_size: kernel size of W, an odd number; default 5.

    Raises:
        ValueError: the neuron cannot run step by step, or ``alpha`` is outside [0, 1].
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
            raise ValueError(f'attention.alpha must be in [0, 1], got {alpha}')
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
        """The union of the domains of q (first step) and of the output neuron (later steps)."""
        fired = domain_of(self.out_neuron)
        if self.source is None or fired is None or self.source.unit != fired.unit:
            return None
        return SpikeDomain(
            min(self.source.low, fired.low), max(self.source.high, fired.high), fired.unit
        )

    def kernel(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return weight (N, N, k) and bias (N,) of the convolution for a feature map of N = height
        x width tokens.

        Args:
            size: height and width of the feature map, in tokens.
        """
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
        """Run the module over T time steps.

        Args:
            x: spikes (T, B, C, H, W) of the queries.
            state: the state after the previous step; None (default) starts at rest.

        Returns:
            Spikes (T, B, C, H, W), and the state: the last output and the states of both neurons.
        """
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
        """Return the sizes for ``repr``."""
        return f'num_heads={self.num_heads}, tokens={self.tokens}, alpha={self.alpha}'


class _Query(nn.Sequential):
    """A neuron of q, followed by further modules."""

    @property
    def domain(self) -> SpikeDomain | None:
        return domain_of(self[-1])


@MODELS.register_module()
class TemporalAttention(AttentionKind):
    """An attention kind with :class:`TemporalInteraction` after the neuron of q.

    Args:
        embed_dims: C, number of channels of q and k, passed to the attention kind.
        num_heads: number of heads, passed to the attention kind.
        neuron: neuron config of the family, for the attention kind and the module. If the kind has
            signed queries, the module uses the ternary neuron with the same parameters **[ours]**.
        value_dims: C_v, number of channels of v, passed to the attention kind; None (default) means
            C.
        family_scale: scale of the family's own attention, passed to the attention kind; default
            None.
        attention: config of the attention kind; None (default) is spiking self-attention.
        tokens: height and width, in tokens, of the feature map for which the module is built;
            default (4, 4).
        alpha: weight of the previous step, see :class:`TemporalInteraction`; default 0.5.
        in_threshold: threshold of the inner neuron; default 0.3. The official code names thresholds
            of 0.3 and 0.5 and runs with 1.0, see ``official_quirks`` of the families.
        out_threshold: threshold of the output neuron of the module; default 0.5.
        kernel_size: kernel size of the convolution, an odd number; default 5.

    With T = 1 the module does nothing, and its weights get no gradient.

    Raises:
        ValueError: the attention kind has no neuron of q, or as in :class:`TemporalInteraction`.
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
                'TemporalAttention needs an attention kind with a neuron of q, got attention.type='
                f'{type(self.attn).__name__!r}'
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
        """The domain of the attention kind's output."""
        return self.attn.domain

    def forward(self, q: Tensor, k: Tensor, v: Tensor | None) -> Tensor:
        """Return the output of the attention kind; shapes as in
        :meth:`mmbsa.spiking.AttentionKind.forward`."""
        return self.attn(q, k, v)
