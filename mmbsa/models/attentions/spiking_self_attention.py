"""Spiking self-attention, SSA, of Spikformer (Zhou et al., ICLR 2023), and its relatives without a
map of tokens."""

from mmbsa.models.attentions.base import DotProductAttention
from mmbsa.registry import MODELS


@MODELS.register_module()
class SpikingSelfAttention(DotProductAttention):
    """Spiking self-attention of Spikformer, Spikingformer, QKFormer and Meta-SpikeFormer.

    .. math:: SN_{0.5}(Q_S K_S^T V_S \\cdot s), \\quad Q_S = SN(Q), K_S = SN(K), V_S = SN(V)

    Spikes are 0 or 1, so the product counts coincidences; it is an integer whatever the order of
    the two products (official codes differ in it), and the op takes the cheaper one.

    Args:
        embed_dims, num_heads, value_dims, impl: see :class:`DotProductAttention`.
        neuron: the family's neuron, used for q, k, v and the output.
        scale: factor s on the output; None means the family's.
        family_scale: scale that the family asks for, used when ``scale`` is None; 0.125 if the
            family does not say.
        out_threshold: threshold of the output neuron, where the neuron has one.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        neuron: dict,
        value_dims: int | None = None,
        scale: float | None = None,
        family_scale: float | None = None,
        out_threshold: float = 0.5,
        impl: str = 'auto',
    ):
        if scale is None:
            scale = 0.125 if family_scale is None else family_scale
        super().__init__(
            embed_dims,
            num_heads,
            value_dims,
            q_neuron=neuron,
            k_neuron=neuron,
            v_neuron=neuron,
            out_neuron=neuron,
            out_threshold=out_threshold,
            normalizer='none',
            scale=scale,
            impl=impl,
        )
