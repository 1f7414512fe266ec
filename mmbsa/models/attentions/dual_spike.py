"""Dual spike self-attention of SpikingResformer."""

from torch import Tensor

from mmbsa.models.layers import FiringRate
from mmbsa.models.layers.products import matmul
from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS
from mmbsa.spiking import AttentionKind, SpikeDomain, carry, domain_of


@MODELS.register_module()
class DualSpikeSelfAttention(AttentionKind):
    """Dual spike self-attention, DSSA, of SpikingResformer (Shi et al., CVPR 2024).

    .. math:: A = SN(s_1 Y_1^T X), \\quad SN(s_2 Y_2 A), \\quad s_1 = 1/\\sqrt{f_X d}, \\quad s_2 =
        1/\\sqrt{f_A M}

    The input spikes X are the queries themselves; keys and values (Y_1, Y_2) are real-valued, of M
    patches of the map, and come from one projection of twice the width. Both products have spikes
    on one side: X in the first, the map A of M x N spikes in the second. The scales use running
    firing rates f per head, see :class:`FiringRate`.

    Args:
        embed_dims: C of the queries; keys and values together have 2 C.
        num_heads: h, must divide ``embed_dims``.
        neuron: the family's neuron, used for the map and the output.
        value_dims: must be C or None.
        family_scale: accepted from the family and not used.
        length: M in s_2; None means the M at hand. The official code takes it from the nominal size
            of the input.

    Raises:
        ValueError: indivisible heads, or values of another width.
    """

    uses_value = False
    uses_query = False
    key_ratio = 2
    equal_widths = True

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        neuron: dict,
        value_dims: int | None = None,
        family_scale: float | None = None,
        length: int | None = None,
    ):
        super().__init__(embed_dims, num_heads, value_dims)
        self.length = length
        self.query_rate = FiringRate(num_heads)
        self.score_rate = FiringRate(num_heads)
        self.score_neuron = build_neuron(neuron)
        self.out_neuron = build_neuron(neuron)

    @property
    def domain(self) -> SpikeDomain | None:
        """What the output neuron emits."""
        return domain_of(self.out_neuron)

    def forward(self, q: Tensor, k: Tensor, v: None = None) -> Tensor:
        """q (T, B, C, H, W) spikes, k (T, B, 2 C, h, w) potentials, v must be None -> (T, B, C, H,
        W) spikes."""
        height, width = q.shape[-2:]
        q, k = (
            carry(x.flatten(3).unflatten(2, (self.num_heads, -1)), x) for x in (q, k)
        )  # (T, B, heads, d or 2 d, N or M)
        k, v = k.chunk(2, dim=3)
        dims, patches = k.shape[-2:]
        scale = 1 / (self.query_rate(q.detach()) * dims).sqrt()
        spikes = self.score_neuron(matmul((k * scale).transpose(-1, -2), q))  # (T, B, heads, M, N)
        scale = 1 / (self.score_rate(spikes.detach()) * (self.length or patches)).sqrt()
        turned = carry(spikes.transpose(-1, -2), spikes)
        out = matmul(turned, (v * scale).transpose(-1, -2))  # (T, B, heads, N, d)
        out = (
            out.transpose(2, 3).flatten(3).unflatten(2, (height, width))
        )  # (T, B, H, W, C): channels last
        return self.out_neuron(out.permute(0, 1, 4, 2, 3))

    def extra_repr(self) -> str:
        """Sizes."""
        return f'{super().extra_repr()}, length={self.length}'
