"""Q-K attentions of QKFormer (Zhou et al., NeurIPS 2024): a mask from q on k, no value, linear
cost."""

from torch import Tensor

from mmbsa.models.layers.products import multiply
from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS
from mmbsa.spiking import AttentionKind, SpikeDomain, carry, domain_of


class QueryKeyAttention(AttentionKind):
    """What both Q-K attentions share: q counted into a spiking mask, the mask multiplied into k.

    Data flow (d = C / heads)::

        q (T,B,C,H,W) --neuron--> heads (T,B,heads,d,H,W) --sum--> neuron (threshold 0.5) --> mask
        k (T,B,C,H,W) --neuron--> heads (T,B,heads,d,H,W) --times mask--> (T,B,C,H,W)

    Args:
        embed_dims: C, of q, k and the output.
        num_heads: must divide ``embed_dims``.
        neuron: the family's neuron, used for q, k and the mask.
        value_dims: accepted from the family and not used: there is no value.
        family_scale: accepted from the family and not used: there is no scale.
        out_threshold: threshold of the mask's neuron, where the neuron has one.

    Raises:
        ValueError: indivisible heads.
    """

    uses_value = False
    #: k is masked and handed on, so the family must give it the map of q.
    pointwise = True
    #: dimensions of (T, B, heads, d, H, W) over which q is counted.
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
        """Spikes of k, where the mask fires."""
        k = domain_of(self.k_neuron)
        return None if k is None else k.product(domain_of(self.out_neuron))

    def forward(self, q: Tensor, k: Tensor, v: None = None) -> Tensor:
        """q, k (T, B, C, H, W) potentials -> (T, B, C, H, W) spikes; v must be None."""
        q, k = self.q_neuron(q), self.k_neuron(k)
        q, k = (carry(x.unflatten(2, (self.num_heads, -1)), x) for x in (q, k))
        # k comes first because the product takes its layout
        return multiply(k, self.out_neuron(q.sum(self.counted, keepdim=True))).flatten(2, 3)


@MODELS.register_module()
class QKTokenAttention(QueryKeyAttention):
    """Q-K token attention: every head keeps or drops whole tokens of k.

    .. math:: SN_{0.5}(\\textstyle\\sum_{c=1}^{d} Q_S[:, c]) \\otimes K_S
    """

    counted = (3,)


@MODELS.register_module()
class QKChannelAttention(QueryKeyAttention):
    """Q-K channel attention: every head keeps or drops whole channels of k.

    .. math:: SN_{0.5}(\\textstyle\\sum_{n=1}^{N} Q_S[n, :]) \\otimes K_S

    Heads play no role, as every channel is counted by itself.
    """

    counted = (4, 5)
