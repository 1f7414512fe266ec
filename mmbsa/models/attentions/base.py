"""The base class of attention kinds with a product of q and k, and the function that builds
attention kinds."""

import torch
from torch import Tensor, nn

from mmbsa.models.neurons import build_neuron
from mmbsa.ops import bipolar_attention
from mmbsa.ops.bytes import fits, is_power_of_two
from mmbsa.registry import MODELS, build_checked
from mmbsa.spiking import BINARY, TERNARY, AttentionKind, SpikeDomain, checks_spikes, domain_of


class DotProductAttention(AttentionKind):
    """Base class of attention kinds with a matrix product of q and k.

    Data flow (N = H W tokens, d = C / heads, d_v = C_v / heads)::

        q, k (T,B,C,H,W) --neuron--> heads (T,B,heads,N,d)
        v (T,B,C_v,H,W) --neuron--> heads (T,B,heads,N,d_v)
        normalise(q k^T) v (T,B,heads,N,d_v) --merged--> (T,B,C_v,H,W) --neuron--> spikes

    The N x N scores are never stored; see :func:`mmbsa.ops.bipolar_attention`. The op gets the
    narrowest product that the domains of the neurons of q and k allow: ``'binary'``, ``'ternary'``,
    or ``'real'`` for counts and real numbers.

    Args:
        embed_dims: C, number of channels of q and k.
        num_heads: number of heads; must divide ``embed_dims`` and ``value_dims``.
        value_dims: C_v, number of channels of v; None (default) means C.
        q_neuron: neuron config of q; None keeps q real-valued.
        k_neuron: neuron config of k; None keeps k real-valued.
        v_neuron: neuron config of v; None keeps v real-valued.
        out_neuron: neuron config of the output; None keeps the output real-valued.
        normalizer: ``'shiftmax'``, ``'softmax'`` or ``'none'``.
        scale: factor on the scores, or on the output if ``normalizer='none'``; default 1.
        grad: gradient rule of Shiftmax, ``'ste'`` (default) or ``'detach'``.
        impl: implementation of the op, one of ``mmbsa.ops.implementations``; default ``'auto'``.
        out_threshold: threshold of the output neuron, if that neuron has one; None (default) keeps
            the threshold of its config.

    Raises:
        ValueError: ``num_heads`` does not divide the channels.
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
        """The product that the op may assume for q and k: ``'binary'``, ``'ternary'`` or
        ``'real'``."""
        return product_of(domain_of(self.q_neuron), domain_of(self.k_neuron))

    @property
    def units(self) -> list[float]:
        """Return the values of one spike of q, k and v, for the op to keep spikes as bytes.

        Returns:
            Three numbers, 0 for a tensor that is not kept as bytes. The list is empty without
            gradients and during export.
        """
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
        """The domain of the output neuron; None if the output is real-valued."""
        return domain_of(self.out_neuron)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Compute the attention from the projected membrane potentials.

        Args:
            q: potentials (T, B, C, H, W).
            k: potentials (T, B, C, h, w).
            v: potentials (T, B, C_v, h, w).

        Returns:
            Spikes (T, B, C_v, H, W).
        """
        return self.attend(self.q_neuron(q), self.k_neuron(k), self.v_neuron(v))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Compute the attention from the outputs of the neurons of q, k and v.

        Args:
            q: spikes, or potentials without a neuron of q, (T, B, C, H, W).
            k: spikes, or potentials without a neuron of k, (T, B, C, h, w).
            v: spikes, or potentials without a neuron of v, (T, B, C_v, h, w).

        Returns:
            Spikes (T, B, C_v, H, W).
        """
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
        """Return a view of shape (T, B, heads, N, d) of ``x`` (T, B, heads * d, H, W)."""
        return x.flatten(3).unflatten(2, (self.num_heads, -1)).transpose(-1, -2)

    def extra_repr(self) -> str:
        """Return the sizes and the options of the product for ``repr``."""
        options = dict(product=self.product, **self.options)
        return f'{super().extra_repr()}, ' + ', '.join(f'{k}={v}' for k, v in options.items())


def product_of(q: SpikeDomain | None, k: SpikeDomain | None) -> str:
    """Return the narrowest product that the domains of ``q`` and ``k`` allow: ``'binary'``,
    ``'ternary'`` or ``'real'``."""
    for name, domain in (('binary', BINARY), ('ternary', TERNARY)):
        if q is not None and k is not None and q.within(domain) and k.within(domain):
            return name
    return 'real'


def build_attention(cfg: dict, **defaults) -> nn.Module:
    """Build an attention kind from its config.

    Args:
        cfg: config of the attention kind.
        defaults: arguments that the family sets (sizes, neuron, scale); ``cfg`` may override them.

    Raises:
        TypeError: ``cfg`` is not a config of an :class:`AttentionKind`.
        KeyError: the type is not registered.
    """
    return build_checked(cfg, AttentionKind, 'attention', MODELS, **defaults)
