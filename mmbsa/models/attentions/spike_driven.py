"""Spike-driven attentions: no softmax, non-negative spikes on both sides of every product."""
from mmbsa.models.attentions.base import DotProductAttention
from mmbsa.registry import MODELS


@MODELS.register_module()
class EfficientSpikeDrivenSelfAttention(DotProductAttention):
    """Efficient spike-driven self-attention, E-SDSA, of E-SpikeFormer (SDT-V3, TPAMI 2025).

    .. math:: SN((Q_S K_S^T V_S) \\cdot s), \\quad s = 2 / \\sqrt{d}

    The scores are not normalised, so the products may be taken in either order; the op takes the cheaper one, and with
    integer spikes both give the same floats.

    Args:
        embed_dims, num_heads, value_dims, num_steps, impl: see :class:`DotProductAttention`.
        neuron: the host's neuron, used for q, k, v and the output.
        scale: factor on the output; None means 2 / sqrt(d).
        host_scale: scale that the family asks for; used when ``scale`` is None.
    """

    def __init__(self, embed_dims: int, num_heads: int, neuron: dict, value_dims: int | None = None,
                 scale: float | None = None, host_scale: float | None = None, impl: str = 'auto', num_steps: int = 1):
        if scale is None:
            scale = host_scale if host_scale is not None else 2 * (embed_dims / num_heads) ** -0.5
        super().__init__(embed_dims, num_heads, value_dims, q_neuron=neuron, k_neuron=neuron, v_neuron=neuron,
                         out_neuron=neuron, product='real', normalizer='none', scale=scale, impl=impl,
                         num_steps=num_steps)
