"""Attention through the product of q and k, and building attention kinds."""

import torch
from torch import Tensor, nn

from mmbsa.models.neurons import build_neuron
from mmbsa.ops import bipolar_attention
from mmbsa.ops.bytes import fits, is_power_of_two
from mmbsa.registry import MODELS, build_checked
from mmbsa.spiking import BINARY, TERNARY, AttentionKind, SpikeDomain, checks_spikes, domain_of


class DotProductAttention(AttentionKind):
    """Attention through the product of q and k, between projections that the family owns.

    Data flow (d = C / heads, d_v = C_v / heads)::

        q, k (T,B,C,H,W) --neuron--> heads (T,B,heads,N,d)
        v (T,B,C_v,H,W) --neuron--> heads (T,B,heads,N,d_v)
        normalise(q k^T) v (T,B,heads,N,d_v) --merged--> (T,B,C_v,H,W) --neuron--> spikes

    The map of N x N scores is never built; see :func:`mmbsa.ops.bipolar_attention`. The op is told
    the narrowest product that the domains of q's and k's neurons allow: ``'binary'``,
    ``'ternary'``, or ``'real'`` for counts and real numbers.

    Args:
        embed_dims: C of q and k.
        num_heads: must divide ``embed_dims`` and ``value_dims``.
        value_dims: C_v; None means C.
        q_neuron, k_neuron, v_neuron, out_neuron: neuron configs; None leaves that path real-valued.
        normalizer: ``'shiftmax'``, ``'softmax'`` or ``'none'``.
        scale: factor on the scores (``'none'``: on the output).
        grad: gradient rule of Shiftmax, ``'ste'`` or ``'detach'``.
        impl: implementation of the op, see ``mmbsa.ops.implementations``.
        out_threshold: threshold of the output neuron, where the neuron has one; None is its own.

    Raises:
        ValueError: indivisible heads.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        value_dims: int | None = None,
        *,
        q_neuron: dict | None,
        k_neuron: dict | None,
        v_neuron: dict | None,
        out_neuron: dict | None,
        normalizer: str,
        scale: float = 1.0,
        grad: str = 'ste',
        impl: str = 'auto',
        out_threshold: float | None = None,
    ):
        super().__init__(embed_dims, num_heads, value_dims)
        self.q_neuron = build_neuron(q_neuron, 'attention.q_neuron')
        self.k_neuron = build_neuron(k_neuron, 'attention.k_neuron')
        self.v_neuron = build_neuron(v_neuron, 'attention.v_neuron')
        threshold = {} if out_threshold is None else dict(v_threshold=out_threshold)
        self.out_neuron = build_neuron(out_neuron, 'attention.out_neuron', **threshold)
        self.options = dict(normalizer=normalizer, scale=scale, grad=grad, impl=impl)

    @property
    def product(self) -> str:
        """What the op may assume of q and k: ``'binary'``, ``'ternary'`` or ``'real'``."""
        return product_of(domain_of(self.q_neuron), domain_of(self.k_neuron))

    @property
    def units(self) -> list[float]:
        """Values of one spike of q, k and v that are kept as bytes for the backward; 0 for
        others; empty where no gradient is wanted, and in exported graphs."""
        units = []
        if not torch.is_grad_enabled() or torch.compiler.is_exporting():
            return units
        for neuron in (self.q_neuron, self.k_neuron, self.v_neuron):
            d = None if getattr(neuron, 'domain_may_change', False) else domain_of(neuron)
            fitting = d and is_power_of_two(d.unit) and fits(d.low, d.high, d.unit)
            units.append(d.unit if fitting else 0.0)
        return units

    @property
    def domain(self) -> SpikeDomain | None:
        """What the output neuron emits."""
        return domain_of(self.out_neuron)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (T, B, C, H, W), k (T, B, C, h, w) and v (T, B, C_v, h, w) potentials -> (T, B, C_v, H,
        W) spikes."""
        return self.attend(self.q_neuron(q), self.k_neuron(k), self.v_neuron(v))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What the neurons of q, k and v put out -> (T, B, C_v, H, W) spikes; shapes as those of
        :meth:`forward`."""
        height, width = q.shape[-2:]
        if checks_spikes():
            for name, spikes, neuron in (
                ('q', q, self.q_neuron),
                ('k', k, self.k_neuron),
                ('v', v, self.v_neuron),
            ):
                if domain_of(neuron) is not None:
                    domain_of(neuron).check(spikes, f'{name} of {type(self).__name__}')
        q, k, v = self.to_heads(q), self.to_heads(k), self.to_heads(v)
        out = bipolar_attention(
            q, k, v, product=self.product, units=self.units, **self.options
        )  # (T, B, heads, N, d_v)
        out = (
            out.transpose(2, 3).flatten(3).unflatten(2, (height, width))
        )  # (T, B, H, W, C_v): channels last
        return self.out_neuron(out.permute(0, 1, 4, 2, 3))

    def to_heads(self, x: Tensor) -> Tensor:
        """(T, B, heads * d, H, W) -> (T, B, heads, N, d), a view."""
        return x.flatten(3).unflatten(2, (self.num_heads, -1)).transpose(-1, -2)

    def extra_repr(self) -> str:
        """Sizes and options of the product."""
        options = dict(product=self.product, **self.options)
        return f'{super().extra_repr()}, ' + ', '.join(f'{k}={v}' for k, v in options.items())


def product_of(q: SpikeDomain | None, k: SpikeDomain | None) -> str:
    """The narrowest product that two domains allow: ``'binary'``, ``'ternary'`` or ``'real'``."""
    for name, domain in (('binary', BINARY), ('ternary', TERNARY)):
        if q is not None and k is not None and q.within(domain) and k.within(domain):
            return name
    return 'real'


def build_attention(cfg: dict, **defaults) -> nn.Module:
    """Build an attention kind: what the family knows (dims, neuron, scale) are defaults that
    ``cfg`` may override.

    Raises:
        TypeError: ``cfg`` is no config of an :class:`AttentionKind`. KeyError: an unknown type.
    """
    return build_checked(cfg, AttentionKind, 'attention', MODELS, **defaults)
