"""The base class of attention kinds: neurons of q, k, v and the output, and how they are
combined."""

from torch import Tensor, nn

from mmbsa.spiking.domain import SpikeDomain


class AttentionKind(nn.Module):
    """Base class of all attention kinds.

    A family has the projections that compute q, k and v. An attention kind has the neurons of q, k
    and v, the combination of tokens, and the output neuron. The class attributes below define which
    projections the kind needs. The family passes the same arguments to every kind; a kind that has
    no scale ignores ``family_scale``.

    Args:
        embed_dims: C, the number of channels of q, and of the output of kinds without v.
        num_heads: number of heads; must divide ``embed_dims`` and ``value_dims``.
        value_dims: C_v, the number of channels of v; None (default) means C.

    Raises:
        ValueError: ``num_heads`` does not divide the channels, or ``value_dims`` differs from
            ``embed_dims`` where the kind requires equal widths.
    """

    #: whether the family projects q; if False, the kind gets the spikes that enter the projections.
    uses_query = True
    #: whether the family projects v; if False, the kind gets None, and the output has C channels.
    uses_value = True
    #: channels of the projection to k, divided by C.
    key_ratio = 1
    #: whether k must have the height and width of q; families that downsample k and v then do not.
    pointwise = False
    #: whether v must have as many channels as k.
    equal_widths = False
    #: suffix of model names with this kind (``espikeformer_m_bsa``); None means no suffix.
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
        """Channels of each projection to q; a kind with several projections gets q as a tuple of
        tensors."""
        return (self.embed_dims,)

    @property
    def key_dims(self) -> int:
        """Number of channels of the projection to k."""
        return self.embed_dims * self.key_ratio

    @property
    def gate_dims(self) -> int:
        """Number of channels of a further projection, which ``forward`` gets as an argument after
        v; 0 means none."""
        return 0

    @property
    def domain(self) -> SpikeDomain | None:
        """The values that the output may hold; None for real-valued output."""
        raise NotImplementedError(f'{type(self).__name__} must define domain')

    def forward(self, q: Tensor, k: Tensor, v: Tensor | None) -> Tensor:
        """Compute the attention from the projected membrane potentials.

        Args:
            q: potentials (T, B, C, H, W) of the queries.
            k: potentials (T, B, C * key_ratio, h, w) of the keys.
            v: potentials (T, B, C_v, h, w) of the values; None for kinds without values.

        Returns:
            Spikes (T, B, C_v, H, W).
        """
        raise NotImplementedError(f'{type(self).__name__} must define forward')

    def extra_repr(self) -> str:
        """Return the sizes for ``repr``."""
        widths = f'embed_dims={self.embed_dims}, num_heads={self.num_heads}'
        return f'{widths}, value_dims={self.value_dims}'
