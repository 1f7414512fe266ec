"""The attention of the spiking experts mixture mechanism, SEMM (Zhou et al., NeurIPS 2024)."""

from copy import deepcopy

from torch import Tensor, nn

from mmbsa.models.attentions.base import DotProductAttention, build_attention
from mmbsa.models.layers.products import multiply
from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS
from mmbsa.spiking import AttentionKind, SpikeDomain, carry, domain_of


@MODELS.register_module()
class ExpertsAttention(AttentionKind):
    r"""Spiking experts mixture mechanism (SEMM) for attention: E experts, whose outputs a router
    masks with spikes.

    .. math:: Y[n] = \sum_e R_e[n]\, A_e(Q_e, K, V)[n], \quad R = SN(router(X)) \in \{0, 1\}^{N
        \times E}

    Every expert A_e is an attention with one head, its own queries Q_e and its own output neuron.
    All experts share K (``expert_dims`` channels) and V (all channels) and their neurons. The
    router emits one spike per token and expert. Y is a count of 0 .. E, and it is not normalised.

    Args:
        embed_dims: C, number of channels of the family.
        num_heads: accepted from the family and not used, because experts replace heads.
        neuron: neuron config of the family, for q, k, v, the outputs and the router.
        value_dims: number of channels of v and of the output; None (default) means C.
        family_scale: scale of the family's own attention, passed to the experts; default None.
        num_experts: E, the number of experts; default 4.
        expert_dims: number of channels of k and of the q of each expert; default 96.
        expert: config of the experts' attention kind, which must have a product of q and k. None
            (default) is spiking self-attention with the threshold of the family in its output
            neuron. ``dict(type='mmbsa.BipolarSelfAttention')`` uses experts of BSA **[ours]**.
        scrambled: reinterpret the memory of the router's map (E, N) as (N, E), a mistake in the
            code of the STEP benchmark; default False.

    Raises:
        ValueError: the expert has no product of q and k, or ``num_experts`` is less than 1.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        neuron: dict,
        value_dims: int | None = None,
        family_scale: float | None = None,
        num_experts: int = 4,
        expert_dims: int = 96,
        expert: dict | None = None,
        scrambled: bool = False,
    ):
        super().__init__(embed_dims, num_heads, value_dims)
        if num_experts < 1:
            raise ValueError(f'attention.num_experts={num_experts} must be at least 1')
        self.num_experts, self.expert_dims, self.scrambled = num_experts, expert_dims, scrambled
        expert = expert or dict(type='mmbsa.SpikingSelfAttention', out_threshold=None)
        self.experts = nn.ModuleList(
            build_attention(
                deepcopy(expert),
                embed_dims=expert_dims,
                num_heads=1,
                value_dims=self.value_dims,
                neuron=neuron,
                family_scale=family_scale,
            )
            for _ in range(num_experts)
        )
        first = self.experts[0]
        if not isinstance(first, DotProductAttention):
            raise ValueError(
                'attention.expert.type must be an attention kind with a product of q and k, '
                'because the experts share k and v; '
                f'got {type(first).__name__}, use for example SpikingSelfAttention'
            )
        for other in self.experts[1:]:  # the experts share the neurons of k and v and their state
            other.k_neuron, other.v_neuron = first.k_neuron, first.v_neuron
        self.router_neuron = build_neuron(neuron)

    @property
    def query_dims(self) -> tuple[int, ...]:
        """Channels of the projections to q, one per expert."""
        return (self.expert_dims,) * self.num_experts

    @property
    def key_dims(self) -> int:
        """Number of channels of the projection to k: ``expert_dims``."""
        return self.expert_dims

    @property
    def gate_dims(self) -> int:
        """Number of channels of the router's projection: one per expert."""
        return self.num_experts

    @property
    def domain(self) -> SpikeDomain | None:
        """The domain of the sum of all experts' outputs."""
        expert = self.experts[0].domain
        one = None if expert is None else expert.product(domain_of(self.router_neuron))
        return one and SpikeDomain(
            one.low * self.num_experts, one.high * self.num_experts, one.unit
        )

    def forward(self, q: Tensor | tuple[Tensor, ...], k: Tensor, v: Tensor, gate: Tensor) -> Tensor:
        """Return the sum of the outputs of all experts, each masked by the router's spikes.

        Args:
            q: E potentials (T, B, D, H, W), one per expert; a single tensor if E = 1. D is
                ``expert_dims``.
            k: potentials (T, B, D, h, w) of the keys, shared by all experts.
            v: potentials (T, B, C_v, h, w) of the values, shared by all experts.
            gate: potentials (T, B, E, H, W) of the router, one channel per expert.

        Returns:
            Sums of spikes, (T, B, C_v, H, W).
        """
        queries = (q,) if isinstance(q, Tensor) else q
        first = self.experts[0]
        k, v = first.k_neuron(k), first.v_neuron(v)
        gate = self.router_neuron(_scramble(gate) if self.scrambled else gate)
        out = None
        for index, (expert, q) in enumerate(zip(self.experts, queries)):
            mask = carry(gate[:, :, index : index + 1], gate)
            spikes = multiply(expert.attend(expert.q_neuron(q), k, v), mask)
            out = spikes if out is None else out + spikes
        return out

    def extra_repr(self) -> str:
        """Return the sizes for ``repr``."""
        own = f'num_experts={self.num_experts}, expert_dims={self.expert_dims}'
        return f'{super().extra_repr()}, {own}'


def _scramble(gate: Tensor) -> Tensor:
    """Reinterpret the memory of each map (E, H W) of a tensor (T, B, E, H, W) as N rows of E
    values."""
    experts, height, width = gate.shape[2:]
    return (
        gate.flatten(2)
        .unflatten(2, (height * width, experts))
        .transpose(2, 3)
        .unflatten(3, (height, width))
    )
