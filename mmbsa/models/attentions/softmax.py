"""Softmax attention without spikes: the reference that spiking attentions are measured against."""

from mmbsa.models.attentions.base import DotProductAttention
from mmbsa.registry import MODELS


@MODELS.register_module()
class SoftmaxAttention(DotProductAttention):
    """Softmax attention of artificial networks, on the family's real-valued q, k and v (Vaswani et
    al., 2017).

    .. math:: softmax(Q K^T \\cdot s)\\, V, \\quad s = 1 / \\sqrt{d}

    It has no neuron: in a family with membrane shortcuts the output projection then multiplies real
    numbers.

    Args:
        embed_dims, num_heads, value_dims, impl: see :class:`DotProductAttention`.
        neuron: the family's neuron; accepted and not used.
        scale: factor on the scores; None means 1 / sqrt(d).
        family_scale: accepted from the family and not used: spike counts need other scales than
            potentials.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        neuron: dict | None = None,
        value_dims: int | None = None,
        scale: float | None = None,
        family_scale: float | None = None,
        impl: str = 'auto',
    ):
        scale = (num_heads / embed_dims) ** 0.5 if scale is None else scale
        super().__init__(
            embed_dims,
            num_heads,
            value_dims,
            q_neuron=None,
            k_neuron=None,
            v_neuron=None,
            out_neuron=None,
            normalizer='softmax',
            scale=scale,
            impl=impl,
        )
