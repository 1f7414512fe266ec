"""Spike-driven attentions: no softmax, non-negative spikes on both sides of every product."""
import torch.nn.functional as F
from torch import Tensor, nn

from mmbsa.models.attentions.base import DotProductAttention
from mmbsa.models.neurons import build_neuron
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


@MODELS.register_module()
class SpikeDrivenSelfAttention(nn.Module):
    """Spike-driven self-attention, SDSA, of Spike-driven Transformer V1 (Yao et al., NeurIPS 2023).

    .. math:: Q_S \\otimes SN_{0.5}(\\textstyle\\sum_n K_S[n] \\otimes V_S[n])

    Every channel counts its coincidences of k and v over all tokens; the spiking mask of channels is multiplied into q.
    There is no product of matrices, no scale, and heads play no role.

    Args:
        embed_dims: C, of q, k, v and the output.
        num_heads: must divide ``embed_dims``.
        neuron: the host's neuron, used for q, k, v and the mask.
        value_dims: must be C or None, as k and v are multiplied channel by channel.
        host_scale: accepted from the family and not used.
        out_threshold: threshold of the mask's neuron, where the neuron has one.
        erode: event models widen the spikes of k, v, k v and the output by a 3 x 3 maximum: ``None`` (images),
            ``'map'`` over height and width, or ``'official'``: the official code does that for k and v, but for k v and
            the output it runs over (tokens, channels of a head) by mistake.
        num_steps: T.

    Raises:
        ValueError: indivisible heads, v wider than k, or an unknown erode.
    """

    uses_value = True

    def __init__(self, embed_dims: int, num_heads: int, neuron: dict, value_dims: int | None = None,
                 host_scale: float | None = None, out_threshold: float = 0.5, erode: str | None = None,
                 num_steps: int = 1):
        super().__init__()
        if num_heads < 1 or embed_dims % num_heads:
            raise ValueError(f'SpikeDrivenSelfAttention: num_heads={num_heads} does not divide embed_dims={embed_dims}')
        if value_dims not in (None, embed_dims):
            raise ValueError('SpikeDrivenSelfAttention multiplies k and v channel by channel, so they need one width; '
                             f'got embed_dims={embed_dims} and value_dims={value_dims} (set value_ratio=1 in arch)')
        if erode not in (None, 'map', 'official'):
            raise ValueError(f"SpikeDrivenSelfAttention: erode must be None, 'map' or 'official', got {erode!r}")
        self.embed_dims, self.num_heads, self.erode = embed_dims, num_heads, erode
        self.q_neuron = build_neuron(neuron, num_steps)
        self.k_neuron = build_neuron(neuron, num_steps)
        self.v_neuron = build_neuron(neuron, num_steps)
        self.out_neuron = build_neuron(neuron, num_steps, v_threshold=out_threshold)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (T, B, C, H, W), k and v (T, B, C, h, w) potentials -> (T, B, C, H, W) spikes."""
        q, k, v = self.q_neuron(q), self.k_neuron(k), self.v_neuron(v)
        if self.erode:
            k, v = _dilate_map(k), _dilate_map(v)
        kv = self._dilate_product(k * v)
        mask = self.out_neuron(kv.sum((3, 4), keepdim=True))  # (T, B, C, 1, 1)
        return self._dilate_product(q * mask)

    def _dilate_product(self, x: Tensor) -> Tensor:
        if self.erode == 'official':
            heads = x.flatten(3).unflatten(2, (self.num_heads, -1)).transpose(-1, -2)  # (T, B, heads, N, d)
            return _dilate_map(heads).transpose(-1, -2).flatten(2, 3).unflatten(3, x.shape[-2:])
        return _dilate_map(x) if self.erode else x

    def extra_repr(self) -> str:
        """Sizes."""
        return f'embed_dims={self.embed_dims}, num_heads={self.num_heads}, erode={self.erode}'


def _dilate_map(x: Tensor) -> Tensor:
    """Maximum over 3 x 3 in the last two of five dimensions."""
    return F.max_pool2d(x.flatten(0, 1), 3, stride=1, padding=1).unflatten(0, x.shape[:2])
