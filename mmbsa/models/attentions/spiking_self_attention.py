"""Spiking self-attention, SSA, of Spikformer (Zhou et al., ICLR 2023)."""

from mmbsa.models.attentions.base import DotProductAttention
from mmbsa.registry import MODELS


@MODELS.register_module()
class SpikingSelfAttention(DotProductAttention):
    """Spiking self-attention (SSA) of Spikformer, Spikingformer, QKFormer and Meta-SpikeFormer.

    .. math:: SN_{0.5}(Q_S K_S^T V_S \\cdot s), \\quad Q_S = SN(Q), K_S = SN(K), V_S = SN(V)

    Spikes are 0 or 1, so the product is an integer, the same for both orders of the two products.
    Official codes use different orders; the op chooses the cheaper one.

    Args:
        embed_dims: C, number of channels of q and k.
        num_heads: number of heads; must divide ``embed_dims`` and ``value_dims``.
        neuron: neuron config of the family, for q, k, v and the output.
        value_dims: C_v, number of channels of v and of the output; None (default) means C.
        scale: factor s on the output; None (default) means ``family_scale``.
        family_scale: scale of the family's own attention, used if ``scale`` is None; None (default)
            means 0.125.
        out_threshold: threshold of the output neuron, if that neuron has one; default 0.5.
        impl: implementation of the op, one of ``mmbsa.ops.implementations``; default ``'auto'``.

    Raises:
        ValueError: ``num_heads`` does not divide the channels.
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
