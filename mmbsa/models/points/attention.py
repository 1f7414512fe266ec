"""Attention between a point and its nearest neighbours: with a softmax per channel, or bipolar."""

from torch import Tensor, nn

from mmbsa.models.layers import SpikeConv
from mmbsa.models.neurons import build_neuron, ternary_neuron
from mmbsa.models.points.geometry import group
from mmbsa.ops import shiftmax
from mmbsa.registry import MODELS
from mmbsa.spiking import SpikeDomain, domain_of


class PointAttention(nn.Module):
    """Base class of the attention kinds for points.

    The block has the projections to q, k and v and the position code. The attention kind has the
    neurons and the combination of neighbours. A subclass sets ``out_neuron``.

    Args:
        embed_dims: D, number of channels of q, k, v and of the output.
    """

    out_neuron: nn.Module

    def __init__(self, embed_dims: int):
        super().__init__()
        self.embed_dims = embed_dims

    @property
    def domain(self) -> SpikeDomain | None:
        """The domain of the output."""
        return domain_of(self.out_neuron)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, position: Tensor, index: Tensor) -> Tensor:
        """Compute the attention of N points to K neighbours each.

        Args:
            q: potentials (T, B, D, N, 1) of the queries.
            k: potentials (T, B, D, N, 1) of the keys.
            v: potentials (T, B, D, N, 1) of the values.
            position: spikes (T, B, D, N, K) of the position code.
            index: indices (T, B, N, K) of the neighbours.

        Returns:
            Spikes (T, B, D, N, 1).
        """
        raise NotImplementedError(f'{type(self).__name__} must define forward')


@MODELS.register_module()
class PointVectorAttention(PointAttention):
    r"""Vector attention of Spiking Point Transformer: each channel has its own softmax over the
    neighbours.

    .. math:: g_{ij} = \gamma(q_i - k_j + \delta_{ij}), \quad
              r_i = \sum_j softmax_j(g_{ij} / \sqrt{D}) (v_j + \delta_{ij})

    q, k, v and the position code :math:`\delta` are spikes, :math:`\gamma` is two units neuron ->
    1x1 convolution -> norm, and a neuron is applied to r. The softmax is real-valued.

    Args:
        embed_dims: D, number of channels of q, k, v and of the output.
        neuron: config of all neurons.
        norm_cfg: config of the norms in :math:`\gamma`.
    """

    def __init__(self, embed_dims: int, neuron: dict | None, norm_cfg: dict | None):
        super().__init__(embed_dims)
        self.q_neuron, self.k_neuron, self.v_neuron = (build_neuron(neuron) for _ in range(3))
        unit = dict(bias=True, neuron=neuron, norm_cfg=norm_cfg)
        self.relation = nn.Sequential(
            *(SpikeConv(embed_dims, embed_dims, **unit) for _ in range(2))
        )
        self.out_neuron = build_neuron(neuron)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, position: Tensor, index: Tensor) -> Tensor:
        """Compute the attention; see :meth:`PointAttention.forward` for arguments and result."""
        k, v = group(self.k_neuron(k), index), group(self.v_neuron(v), index)
        scores = self.relation(self.q_neuron(q) - k + position)
        # If all v + position of a point are 1, r is the sum of the weights, which equals the
        # threshold up to rounding. A softmax over the last axis rounds like the official code, a
        # faster layout does not.
        weights = (scores / self.embed_dims**0.5).softmax(-1)
        return self.out_neuron((weights * (v + position)).sum(-1, keepdim=True))


@MODELS.register_module()
class BipolarPointAttention(PointAttention):
    r"""Bipolar Self-attention (BSA, NeurIPS 2025) between a point and its neighbours **[ours]**.

    .. math:: A_{ij} = Shiftmax_j(TSN(q_i) (TSN(k_j) + \delta_{ij})^T), \quad
              out_i = TSN(\sum_j A_{ij} (V_j + \delta_{ij}))

    Scores are integers per head, weights are powers of two, and there is no subnetwork
    :math:`\gamma` on all N K pairs. V is real-valued, as in BSA; there is no scale.

    Args:
        embed_dims: D, number of channels of q, k, v and of the output.
        neuron: neuron config of the backbone; the ternary neurons take over its parameters.
        norm_cfg: accepted from the block and not used, because there is no norm.
        num_heads: number of heads; must divide D; default 8.
        ternary: arguments of the ternary neurons, for example ``dict(v_threshold=1.0)``; default
            None.
        out_threshold: threshold of the output neuron; None (default) is half of the threshold of
            the other ternary neurons, because the mean over neighbours is smaller than V.
        grad: gradient rule of Shiftmax, ``'ste'`` (default) or ``'detach'``.

    Raises:
        ValueError: ``num_heads`` does not divide ``embed_dims``.
    """

    short_name = 'bsa'

    def __init__(
        self,
        embed_dims: int,
        neuron: dict,
        norm_cfg: dict | None = None,
        num_heads: int = 8,
        ternary: dict | None = None,
        out_threshold: float | None = None,
        grad: str = 'ste',
    ):
        super().__init__(embed_dims)
        if num_heads < 1 or embed_dims % num_heads:
            raise ValueError(
                f'BipolarPointAttention: num_heads={num_heads} does not divide '
                f'embed_dims={embed_dims}'
            )
        self.num_heads, self.grad = num_heads, grad
        tsn = ternary_neuron(neuron, **(ternary or {}))
        self.q_neuron, self.k_neuron = build_neuron(tsn), build_neuron(tsn)
        threshold = tsn.get('v_threshold', 1.0) / 2 if out_threshold is None else out_threshold
        self.out_neuron = build_neuron(tsn, v_threshold=threshold)

    def heads(self, x: Tensor) -> Tensor:
        """Return a tensor (T, B, D, N, K) as (T, B, heads, D / heads, N, K)."""
        return x.unflatten(2, (self.num_heads, -1))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, position: Tensor, index: Tensor) -> Tensor:
        """Compute the attention; see :meth:`PointAttention.forward` for arguments and result."""
        k = group(self.k_neuron(k), index) + position
        scores = self.heads(self.q_neuron(q) * k).sum(3)  # integers
        weights = shiftmax(scores, grad=self.grad).unsqueeze(3)
        mixed = (weights * self.heads(group(v, index) + position)).sum(-1, keepdim=True)
        return self.out_neuron(mixed.flatten(2, 3))

    def extra_repr(self) -> str:
        """Return the sizes for ``repr``."""
        return f'embed_dims={self.embed_dims}, num_heads={self.num_heads}, grad={self.grad}'
