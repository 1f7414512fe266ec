"""Spike-driven attentions: no softmax, non-negative spikes on both sides of every product."""

import torch.nn.functional as F
from torch import Tensor

from mmbsa.models.attentions.base import DotProductAttention
from mmbsa.models.layers.products import multiply
from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS
from mmbsa.spiking import AttentionKind, SpikeDomain, domain_of, mark, marked


@MODELS.register_module()
class EfficientSpikeDrivenSelfAttention(DotProductAttention):
    """Efficient spike-driven self-attention, E-SDSA, of E-SpikeFormer (SDT-V3, TPAMI 2025).

    .. math:: SN((Q_S K_S^T V_S) \\cdot s), \\quad s = 2 / \\sqrt{d}

    The scores are not normalised, so the products may be taken in either order; the op takes the
    cheaper one, and with integer spikes both give the same floats.

    Args:
        embed_dims, num_heads, value_dims, impl: see :class:`DotProductAttention`.
        neuron: the family's neuron, used for q, k, v and the output.
        scale: factor on the output; None means 2 / sqrt(d).
        family_scale: scale that the family asks for; used when ``scale`` is None.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        neuron: dict,
        value_dims: int | None = None,
        scale: float | None = None,
        family_scale: float | None = None,
        impl: str = 'auto',
    ):
        if scale is None:
            scale = (
                family_scale if family_scale is not None else 2 * (embed_dims / num_heads) ** -0.5
            )
        super().__init__(
            embed_dims,
            num_heads,
            value_dims,
            q_neuron=neuron,
            k_neuron=neuron,
            v_neuron=neuron,
            out_neuron=neuron,
            normalizer='none',
            scale=scale,
            impl=impl,
        )


@MODELS.register_module()
class SpikeDrivenSelfAttention(AttentionKind):
    """Spike-driven self-attention, SDSA, of Spike-driven Transformer V1 (Yao et al., NeurIPS 2023).

    .. math:: Q_S \\otimes SN_{0.5}(\\textstyle\\sum_n K_S[n] \\otimes V_S[n])

    Every channel counts its coincidences of k and v over all tokens; the spiking mask of channels
    is multiplied into q. There is no product of matrices, no scale, and heads play no role.

    Args:
        embed_dims: C, of q, k, v and the output.
        num_heads: must divide ``embed_dims``.
        neuron: the family's neuron, used for q, k, v and the mask.
        value_dims: must be C or None, as k and v are multiplied channel by channel.
        family_scale: accepted from the family and not used.
        out_threshold: threshold of the mask's neuron, where the neuron has one.
        dilate: event models widen the spikes of k, v, k v and the output by a 3 x 3 maximum:
            ``None`` (images), ``'map'`` over height and width, or ``'official'``: the official code
            does that for k and v, but for k v and the output it runs over (tokens, channels of a
            head) by mistake.

    Raises:
        ValueError: indivisible heads, v wider than k, or an unknown dilate.
    """

    equal_widths = True

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        neuron: dict,
        value_dims: int | None = None,
        family_scale: float | None = None,
        out_threshold: float = 0.5,
        dilate: str | None = None,
    ):
        super().__init__(embed_dims, num_heads, value_dims)
        if dilate not in (None, 'map', 'official'):
            raise ValueError(
                "SpikeDrivenSelfAttention: dilate must be None, 'map' or 'official', got "
                f'{dilate!r}'
            )
        self.dilate = dilate
        self.q_neuron = build_neuron(neuron)
        self.k_neuron = build_neuron(neuron)
        self.v_neuron = build_neuron(neuron)
        self.out_neuron = build_neuron(neuron, v_threshold=out_threshold)

    @property
    def domain(self) -> SpikeDomain | None:
        """Spikes of q, where the mask fires."""
        q = domain_of(self.q_neuron)
        return None if q is None else q.product(domain_of(self.out_neuron))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (T, B, C, H, W), k and v (T, B, C, h, w) potentials -> (T, B, C, H, W) spikes."""
        q, k, v = self.q_neuron(q), self.k_neuron(k), self.v_neuron(v)
        if self.dilate:
            k, v = _dilate_map(k), _dilate_map(v)
        kv = self._dilate_product(multiply(k, v))
        mask = self.out_neuron(kv.sum((3, 4), keepdim=True))  # (T, B, C, 1, 1)
        return self._dilate_product(multiply(q, mask))

    def _dilate_product(self, x: Tensor) -> Tensor:
        if self.dilate == 'official':
            heads = (
                x.flatten(3).unflatten(2, (self.num_heads, -1)).transpose(-1, -2)
            )  # (T, B, heads, N, d)
            return _dilate_map(heads).transpose(-1, -2).flatten(2, 3).unflatten(3, x.shape[-2:])
        return _dilate_map(x) if self.dilate else x

    def extra_repr(self) -> str:
        """Sizes."""
        return f'{super().extra_repr()}, dilate={self.dilate}'


def _dilate_map(x: Tensor) -> Tensor:
    """Maximum over 3 x 3 in the last two of five dimensions."""
    wide = F.max_pool2d(x.flatten(0, 1), 3, stride=1, padding=1).unflatten(0, x.shape[:2])
    return mark(wide, marked(x))
