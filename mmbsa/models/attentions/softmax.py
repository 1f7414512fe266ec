"""Softmax attention without spikes, the reference for spiking attention kinds."""

from mmbsa.models.attentions.base import DotProductAttention
from mmbsa.registry import MODELS


@MODELS.register_module()
class SoftmaxAttention(DotProductAttention):
    """Softmax attention on the family's real-valued q, k and v (Vaswani et al., 2017).

    .. math:: softmax(Q K^T \\cdot s)\\, V, \\quad s = 1 / \\sqrt{d}

    It has no neurons. In a family with membrane shortcuts the output projection therefore
    multiplies real numbers.

    Args:
        embed_dims: C, number of channels of q and k.
        num_heads: number of heads; must divide ``embed_dims`` and ``value_dims``.
        neuron: accepted from the family and not used.
        value_dims: C_v, number of channels of v and of the output; None (default) means C.
        scale: factor s on the scores; None (default) means 1 / sqrt(d), d = C / heads.
        family_scale: accepted from the family and not used, because spike counts need other scales
            than potentials.
        impl: implementation of the op, one of ``mmbsa.ops.implementations``; default ``'auto'``.

    Raises:
        ValueError: ``num_heads`` does not divide the channels.
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
