"""What an attention kind is: it owns the neurons of q, k, v and the output, and the mixing of tokens."""
from copy import deepcopy

from torch import Tensor, nn

from mmbsa.models.neurons import build_neuron
from mmbsa.ops import bipolar_attention


class DotProductAttention(nn.Module):
    """Attention through the product of q and k, between projections that the family owns.

    Data flow (d = C / heads, d_v = C_v / heads)::

        q, k (T,B,C,H,W) --neuron--> heads (T,B,heads,N,d) --+
                                                             +--> normalise(q k^T) v --> (T,B,C_v,H,W) --neuron--> spikes
        v (T,B,C_v,H,W) ----neuron--> heads (T,B,heads,N,d_v)-+

    The map of N x N scores is never built; see :func:`mmbsa.ops.bipolar_attention`.

    Args:
        embed_dims: C of q and k.
        num_heads: must divide ``embed_dims`` and ``value_dims``.
        value_dims: C_v; None means C.
        q_neuron, k_neuron, v_neuron, out_neuron: neuron configs; None leaves that path real-valued.
        product: ``'ternary'``, ``'binary'`` or ``'real'``, the domain of q and k. The op is told ``'real'`` where a
            neuron of q or k counts (:class:`IntegerNode` of several levels): it relies on unit spikes.
        normalizer: ``'shiftmax'``, ``'softmax'`` or ``'none'``.
        scale: factor on the scores (``'none'``: on the output).
        grad: gradient rule of Shiftmax, ``'ste'`` or ``'detach'``.
        impl: implementation of the op, see ``mmbsa.ops.implementations``.
        num_steps: T.

    Raises:
        ValueError: indivisible heads.
    """

    #: kinds without a value path set this to False; the family then builds no v projection and passes None.
    uses_value = True

    def __init__(self, embed_dims: int, num_heads: int, value_dims: int | None = None, *, q_neuron: dict | None,
                 k_neuron: dict | None, v_neuron: dict | None, out_neuron: dict | None, product: str, normalizer: str,
                 scale: float = 1.0, grad: str = 'ste', impl: str = 'auto', num_steps: int = 1):
        super().__init__()
        value_dims = embed_dims if value_dims is None else value_dims
        for key, dims in (('embed_dims', embed_dims), ('value_dims', value_dims)):
            if num_heads < 1 or dims % num_heads:
                raise ValueError(f'{type(self).__name__}: num_heads={num_heads} does not divide {key}={dims}')
        self.embed_dims, self.num_heads, self.value_dims = embed_dims, num_heads, value_dims
        self.q_neuron = build_neuron(q_neuron, num_steps)
        self.k_neuron = build_neuron(k_neuron, num_steps)
        self.v_neuron = build_neuron(v_neuron, num_steps)
        self.out_neuron = build_neuron(out_neuron, num_steps)
        if any(map(_counts, (self.q_neuron, self.k_neuron))):
            product = 'real'
        self.options = dict(product=product, normalizer=normalizer, scale=scale, grad=grad, impl=impl)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (T, B, C, H, W), k (T, B, C, h, w) and v (T, B, C_v, h, w) potentials -> (T, B, C_v, H, W) spikes."""
        height, width = q.shape[-2:]
        q, k, v = (self.to_heads(neuron(x)) for neuron, x in
                   ((self.q_neuron, q), (self.k_neuron, k), (self.v_neuron, v)))
        out = bipolar_attention(q, k, v, **self.options)  # (T, B, heads, N, d_v)
        out = out.transpose(2, 3).flatten(3).unflatten(2, (height, width))  # (T, B, H, W, C_v): channels last
        return self.out_neuron(out.permute(0, 1, 4, 2, 3))

    def to_heads(self, x: Tensor) -> Tensor:
        """(T, B, heads * d, H, W) -> (T, B, heads, N, d), a view."""
        return x.flatten(3).unflatten(2, (self.num_heads, -1)).transpose(-1, -2)

    def extra_repr(self) -> str:
        """Sizes and options of the product."""
        return (f'embed_dims={self.embed_dims}, num_heads={self.num_heads}, value_dims={self.value_dims}, '
                + ', '.join(f'{k}={v}' for k, v in self.options.items()))


def _counts(neuron: nn.Module | None) -> bool:
    """Whether a neuron emits anything but -1, 0 and 1."""
    return neuron is not None and any(getattr(m, 'levels', 1) != 1 or getattr(m, 'norm', 1) != 1
                                      for m in neuron.modules())


def build_attention(cfg: dict, registry, **defaults) -> nn.Module:
    """Build an attention kind: what the family knows (dims, neuron, scale) are defaults that ``cfg`` may override."""
    if not isinstance(cfg, dict) or 'type' not in cfg:
        raise TypeError(f"attention must be a config such as dict(type='mmbsa.BipolarSelfAttention'), got {cfg!r}")
    cfg = deepcopy(dict(cfg))
    if isinstance(cfg['type'], str) and registry.get(cfg['type']) is None:
        known = sorted(n for n, c in registry.module_dict.items() if isinstance(c, type) and 'Attention' in n)
        raise KeyError(f"attention type {cfg['type']!r} is unknown; there are {', '.join('mmbsa.' + n for n in known)}")
    return registry.build({**defaults, **cfg})
