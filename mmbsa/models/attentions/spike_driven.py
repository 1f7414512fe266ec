"""Spike-driven attention kinds: no softmax, and both operands of every product are non-negative
spikes."""

import torch.nn.functional as F
from torch import Tensor

from mmbsa.models.attentions.base import DotProductAttention
from mmbsa.models.layers.products import multiply
from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS
from mmbsa.spiking import AttentionKind, SpikeDomain, domain_of, mark, marked


@MODELS.register_module()
class EfficientSpikeDrivenSelfAttention(DotProductAttention):
    """Efficient spike-driven self-attention (E-SDSA) of E-SpikeFormer (SDT-V3, TPAMI 2025).

    .. math:: SN((Q_S K_S^T V_S) \\cdot s), \\quad s = 2 / \\sqrt{d}

    The scores are not normalised, so the two products may be computed in either order. The op
    chooses the cheaper order; with integer spikes both orders give the same floating-point numbers.

    Args:
        embed_dims: C, number of channels of q and k.
        num_heads: number of heads; must divide ``embed_dims`` and ``value_dims``.
        neuron: neuron config of the family, for q, k, v and the output.
        value_dims: C_v, number of channels of v and of the output; None (default) means C.
        scale: factor s on the output; None (default) means ``family_scale``, and 2 / sqrt(d) if
            that is None too, d = C / heads.
        family_scale: scale of the family's own attention, used if ``scale`` is None; default None.
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
    """Spike-driven self-attention (SDSA) of Spike-driven Transformer V1 (Yao et al., NeurIPS 2023).

    .. math:: Q_S \\otimes SN_{0.5}(\\textstyle\\sum_n K_S[n] \\otimes V_S[n])

    For every channel, the products of k and v are summed over all tokens. A neuron turns the sums
    into a mask of channels, which is multiplied with q. There is no matrix product and no scale,
    and the number of heads has no effect.

    Args:
        embed_dims: C, number of channels of q, k, v and the output.
        num_heads: number of heads; must divide ``embed_dims``.
        neuron: neuron config of the family, for q, k, v and the mask.
        value_dims: must be C or None (default), because k and v are multiplied per channel.
        family_scale: accepted from the family and not used.
        out_threshold: threshold of the neuron of the mask, if that neuron has one; default 0.5.
        dilate: models for event data apply a 3 x 3 maximum to k, v, the product k v and the output.
            ``None`` (default) applies none; ``'map'`` applies it over height and width;
            ``'official'`` does the same for k and v, but for k v and the output it runs over
            (tokens, channels of a head), a mistake in the official code.

    Raises:
        ValueError: ``num_heads`` does not divide ``embed_dims``, ``value_dims`` is not C, or
            ``dilate`` is unknown.
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
        """The domain of the output: spikes of q where the mask is not 0."""
        q = domain_of(self.q_neuron)
        return None if q is None else q.product(domain_of(self.out_neuron))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Compute the attention from the projected membrane potentials.

        Args:
            q: potentials (T, B, C, H, W).
            k: potentials (T, B, C, h, w).
            v: potentials (T, B, C, h, w).

        Returns:
            Spikes (T, B, C, H, W).
        """
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
        """Return the sizes for ``repr``."""
        return f'{super().extra_repr()}, dilate={self.dilate}'


def _dilate_map(x: Tensor) -> Tensor:
    """Return the 3 x 3 maximum over the last two dimensions of a 5D tensor."""
    wide = F.max_pool2d(x.flatten(0, 1), 3, stride=1, padding=1).unflatten(0, x.shape[:2])
    return mark(wide, marked(x))
