"""Dual spike self-attention of SpikingResformer."""

from torch import Tensor

from mmbsa.models.layers import FiringRate, keep_grad_layout
from mmbsa.models.layers.products import matmul
from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS
from mmbsa.spiking import AttentionKind, SpikeDomain, carry, domain_of


@MODELS.register_module()
class DualSpikeSelfAttention(AttentionKind):
    """Dual spike self-attention (DSSA) of SpikingResformer (Shi et al., CVPR 2024).

    .. math:: A = SN(s_1 Y_1^T X), \\quad SN(s_2 Y_2 A), \\quad s_1 = 1/\\sqrt{f_X d}, \\quad s_2 =
        1/\\sqrt{f_A M}

    The queries are X, the input spikes of the block, without a projection. Keys Y_1 and values Y_2
    are real-valued tensors of M tokens, from one projection with 2 C channels. One operand of each
    product holds spikes: X in the first product, the M x N map A in the second. The scales use a
    running firing rate f per head, see :class:`FiringRate`; d is C / h.

    Args:
        embed_dims: C, number of channels of the queries; keys and values together have 2 C.
        num_heads: h, number of heads; must divide ``embed_dims``.
        neuron: neuron config of the family, for the map A and the output.
        value_dims: must be C or None (default).
        family_scale: accepted from the family and not used.
        length: M in s_2; None (default) means the number of tokens of the keys. The official code
            takes M from the nominal size of the input.

    Raises:
        ValueError: ``num_heads`` does not divide the channels, or ``value_dims`` is not C.
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
        """The domain of the output neuron."""
        return domain_of(self.out_neuron)

    def forward(self, q: Tensor, k: Tensor, v: None = None) -> Tensor:
        """Compute the attention.

        Args:
            q: input spikes (T, B, C, H, W) of the block.
            k: potentials (T, B, 2 C, h, w) of keys and values.
            v: must be None.

        Returns:
            Spikes (T, B, C, H, W).
        """
        height, width = q.shape[-2:]
        q, k = (
            carry(x.flatten(3).unflatten(2, (self.num_heads, -1)), x)
            for x in (keep_grad_layout(q), keep_grad_layout(k))
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
        """Return the sizes for ``repr``."""
        return f'{super().extra_repr()}, length={self.length}'
