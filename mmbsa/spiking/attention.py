"""What an attention kind is: the neurons of q, k, v and the output, and the mixing of tokens
between them."""

from torch import Tensor, nn

from mmbsa.spiking.domain import SpikeDomain


class AttentionKind(nn.Module):
    """Base of all attention kinds.

    A family owns the projections that give q, k and v; a kind owns their neurons, the mixing and
    the output neuron. The family asks the class which projections it needs, and hands every kind
    the same arguments; a kind ignores ``family_scale`` where it has no use for it.

    Args:
        embed_dims: C, channels of q and of the output of kinds without a value.
        num_heads: must divide ``embed_dims`` and ``value_dims``.
        value_dims: C_v, channels of v; None means C.

    Raises:
        ValueError: heads that do not divide the channels, or values of another width where the kind
            has none.
    """

    #: whether the family projects q; False hands the kind the spikes in front of the projections
    #: instead.
    uses_query = True
    #: whether the family projects v; False hands the kind None, and the output has C channels.
    uses_value = True
    #: channels of the projection to k over C.
    key_ratio = 1
    #: whether k must have the map of q, so that families with smaller maps of k and v do not shrink
    #: them.
    pointwise = False
    #: whether v must be as wide as k.
    equal_widths = False
    #: suffix of model names with this kind (``espikeformer_m_bsa``); None gives the kind none.
    short_name: str | None = None

    def __init__(self, embed_dims: int, num_heads: int, value_dims: int | None = None):
        super().__init__()
        name, value_dims = type(self).__name__, embed_dims if value_dims is None else value_dims
        for key, dims in (('embed_dims', embed_dims), ('value_dims', value_dims)):
            if num_heads < 1 or dims % num_heads:
                raise ValueError(f'{name}: num_heads={num_heads} does not divide {key}={dims}')
        if self.equal_widths and value_dims != embed_dims:
            raise ValueError(
                f'{name} needs values as wide as keys, got embed_dims={embed_dims} and '
                f'value_dims={value_dims} (set value_ratio=1 in arch)'
            )
        self.embed_dims, self.num_heads, self.value_dims = embed_dims, num_heads, value_dims

    @property
    def query_dims(self) -> tuple[int, ...]:
        """Channels of the projections to q; a kind with several gets a tuple of potentials in place
        of q."""
        return (self.embed_dims,)

    @property
    def key_dims(self) -> int:
        """Channels of the projection to k."""
        return self.embed_dims * self.key_ratio

    @property
    def gate_dims(self) -> int:
        """Channels of a further projection, whose potentials the kind gets behind v; 0 for none."""
        return 0

    @property
    def domain(self) -> SpikeDomain | None:
        """What the output may hold; None for real-valued output."""
        raise NotImplementedError(f'{type(self).__name__} must define domain')

    def forward(self, q: Tensor, k: Tensor, v: Tensor | None) -> Tensor:
        """Potentials q (T,B,C,H,W), k (T,B,C*key_ratio,h,w), v (T,B,C_v,h,w) -> spikes
        (T,B,C_v,H,W)."""
        raise NotImplementedError(f'{type(self).__name__} must define forward')

    def extra_repr(self) -> str:
        """Sizes."""
        widths = f'embed_dims={self.embed_dims}, num_heads={self.num_heads}'
        return f'{widths}, value_dims={self.value_dims}'
