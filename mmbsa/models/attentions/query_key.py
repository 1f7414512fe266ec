"""Q-K attentions of QKFormer (Zhou et al., NeurIPS 2024): a mask from q on k, no value, linear cost."""
from torch import Tensor, nn

from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS


class QueryKeyAttention(nn.Module):
    """What both Q-K attentions share: q counted into a spiking mask, the mask multiplied into k.

    Data flow (d = C / heads)::

        q (T,B,C,H,W) --neuron--> heads (T,B,heads,d,H,W) --sum--> neuron (threshold 0.5) --> mask --+
        k (T,B,C,H,W) --neuron--> heads (T,B,heads,d,H,W) -------------------------------------------* --> (T,B,C,H,W)

    Args:
        embed_dims: C, of q, k and the output.
        num_heads: must divide ``embed_dims``.
        neuron: the host's neuron, used for q, k and the mask.
        value_dims: accepted from the family and not used: there is no value.
        host_scale: accepted from the family and not used: there is no scale.
        out_threshold: threshold of the mask's neuron, where the neuron has one.
        num_steps: T.

    Raises:
        ValueError: indivisible heads.
    """

    uses_value = False
    #: k is masked and handed on, so the family must give it the map of q.
    pointwise = True
    #: dimensions of (T, B, heads, d, H, W) over which q is counted.
    counted: tuple[int, ...] = ()

    def __init__(self, embed_dims: int, num_heads: int, neuron: dict, value_dims: int | None = None,
                 host_scale: float | None = None, out_threshold: float = 0.5, num_steps: int = 1):
        super().__init__()
        if num_heads < 1 or embed_dims % num_heads:
            raise ValueError(f'{type(self).__name__}: num_heads={num_heads} does not divide embed_dims={embed_dims}')
        self.embed_dims, self.num_heads = embed_dims, num_heads
        self.q_neuron = build_neuron(neuron, num_steps)
        self.k_neuron = build_neuron(neuron, num_steps)
        self.out_neuron = build_neuron(neuron, num_steps, v_threshold=out_threshold)

    def forward(self, q: Tensor, k: Tensor, v: None = None) -> Tensor:
        """q, k (T, B, C, H, W) potentials -> (T, B, C, H, W) spikes; v must be None."""
        q, k = (neuron(x).unflatten(2, (self.num_heads, -1)) for neuron, x in ((self.q_neuron, q), (self.k_neuron, k)))
        # k comes first because the product takes its layout
        return (k * self.out_neuron(q.sum(self.counted, keepdim=True))).flatten(2, 3)

    def extra_repr(self) -> str:
        """Sizes."""
        return f'embed_dims={self.embed_dims}, num_heads={self.num_heads}'


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
