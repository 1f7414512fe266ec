"""The Q-K attentions of QKFormer (Zhou et al., NeurIPS 2024): q gives a mask for k, there is no v,
and the cost is linear in the number of tokens."""

from torch import Tensor

from mmbsa.models.layers.products import multiply
from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS
from mmbsa.spiking import AttentionKind, SpikeDomain, carry, domain_of


class QueryKeyAttention(AttentionKind):
    """Base class of both Q-K attentions: the sum of q gives a mask of spikes, which is multiplied
    with k.

    Data flow (d = C / heads)::

        q (T,B,C,H,W) --neuron--> heads (T,B,heads,d,H,W) --sum--> neuron (threshold 0.5) --> mask
        k (T,B,C,H,W) --neuron--> heads (T,B,heads,d,H,W) --times mask--> (T,B,C,H,W)

    Args:
        embed_dims: C, number of channels of q, k and the output.
        num_heads: number of heads; must divide ``embed_dims``.
        neuron: neuron config of the family, for q, k and the mask.
        value_dims: accepted from the family and not used, because there is no v.
        family_scale: accepted from the family and not used, because there is no scale.
        out_threshold: threshold of the neuron of the mask, if that neuron has one; default 0.5.

    Raises:
        ValueError: ``num_heads`` does not divide ``embed_dims``.
    """

    uses_value = False
    #: the output is k times the mask, so k must have the height and width of q.
    pointwise = True
    #: dimensions of (T, B, heads, d, H, W) over which q is summed.
    counted: tuple[int, ...] = ()

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        neuron: dict,
        value_dims: int | None = None,
        family_scale: float | None = None,
        out_threshold: float = 0.5,
    ):
        super().__init__(embed_dims, num_heads)
        self.q_neuron = build_neuron(neuron)
        self.k_neuron = build_neuron(neuron)
        self.out_neuron = build_neuron(neuron, v_threshold=out_threshold)

    @property
    def domain(self) -> SpikeDomain | None:
        """The domain of the output: spikes of k where the mask is not 0."""
        k = domain_of(self.k_neuron)
        return None if k is None else k.product(domain_of(self.out_neuron))

    def forward(self, q: Tensor, k: Tensor, v: None = None) -> Tensor:
        """Return the spikes (T, B, C, H, W) of k where the mask is not 0.

        Args:
            q: potentials (T, B, C, H, W).
            k: potentials (T, B, C, H, W).
            v: must be None.
        """
        q, k = self.q_neuron(q), self.k_neuron(k)
        q, k = (carry(x.unflatten(2, (self.num_heads, -1)), x) for x in (q, k))
        # k comes first because the product takes its layout
        return multiply(k, self.out_neuron(q.sum(self.counted, keepdim=True))).flatten(2, 3)


@MODELS.register_module()
class QKTokenAttention(QueryKeyAttention):
    """Q-K token attention: every head keeps or removes whole tokens of k.

    .. math:: SN_{0.5}(\\textstyle\\sum_{c=1}^{d} Q_S[:, c]) \\otimes K_S

    The arguments are those of :class:`QueryKeyAttention`.
    """

    counted = (3,)


@MODELS.register_module()
class QKChannelAttention(QueryKeyAttention):
    """Q-K channel attention: keeps or removes whole channels of k.

    .. math:: SN_{0.5}(\\textstyle\\sum_{n=1}^{N} Q_S[n, :]) \\otimes K_S

    The number of heads has no effect, because the sum is taken per channel. The arguments are those
    of :class:`QueryKeyAttention`.
    """

    counted = (4, 5)
