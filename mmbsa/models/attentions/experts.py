"""The attention half of the spiking experts mixture mechanism, SEMM (Zhou et al., NeurIPS 2024)."""

from copy import deepcopy

from torch import Tensor, nn

from mmbsa.models.attentions.base import DotProductAttention, build_attention
from mmbsa.models.layers.products import multiply
from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS
from mmbsa.spiking import AttentionKind, SpikeDomain, carry, domain_of


@MODELS.register_module()
class ExpertsAttention(AttentionKind):
    r"""Spiking experts mixture mechanism, SEMM, for attention: experts with queries of their own,
    gated by spikes.

    .. math:: Y[n] = \sum_e R_e[n]\, A_e(Q_e, K, V)[n], \quad R = SN(router(X)) \in \{0, 1\}^{N
        \times E}

    K (``expert_dims`` wide) and V (full width) are those of all experts, and fire once. An expert
    A_e is an attention of one head with its own output neuron; the router has a spike per token and
    expert, so Y counts experts, 0 .. E, and nothing is normalised.

    Args:
        embed_dims: C of the family.
        num_heads: of the family; accepted and not used: experts take the place of heads.
        neuron: the family's neuron, used for q, k, v, the outputs and the router.
        value_dims: channels of v and of the output; None means C.
        family_scale: scale that the family asks for, handed to the experts.
        num_experts: E.
        expert_dims: channels of k and of every q.
        expert: config of the experts' kind, which must have a product of q and k; None is spiking
            self-attention whose output neuron has the family's threshold.
            ``dict(type='mmbsa.BipolarSelfAttention')`` mixes experts of BSA **[ours]**.
        scrambled: read the router's map (E, N) in the order of memory as (N, E), as the code of the
            STEP benchmark does by mistake.

    Raises:
        ValueError: an expert without a product of q and k, or fewer than one expert.
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
                f'attention.expert: {type(first).__name__} has no product of q and k to share k '
                'and v in; '
                'take SpikingSelfAttention, BipolarSelfAttention, or another kind that has one'
            )
        for other in self.experts[1:]:  # one neuron, one state
            other.k_neuron, other.v_neuron = first.k_neuron, first.v_neuron
        self.router_neuron = build_neuron(neuron)

    @property
    def query_dims(self) -> tuple[int, ...]:
        """One projection per expert."""
        return (self.expert_dims,) * self.num_experts

    @property
    def key_dims(self) -> int:
        """Width of the experts."""
        return self.expert_dims

    @property
    def gate_dims(self) -> int:
        """A channel per expert, for the router."""
        return self.num_experts

    @property
    def domain(self) -> SpikeDomain | None:
        """Sums of what the experts emit."""
        expert = self.experts[0].domain
        one = None if expert is None else expert.product(domain_of(self.router_neuron))
        return one and SpikeDomain(
            one.low * self.num_experts, one.high * self.num_experts, one.unit
        )

    def forward(self, q: Tensor | tuple[Tensor, ...], k: Tensor, v: Tensor, gate: Tensor) -> Tensor:
        """Add up the outputs of all experts, each masked by the router's spikes.

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
        """Sizes."""
        own = f'num_experts={self.num_experts}, expert_dims={self.expert_dims}'
        return f'{super().extra_repr()}, {own}'


def _scramble(gate: Tensor) -> Tensor:
    """(T, B, E, H, W), its E * N values taken for N rows of E."""
    experts, height, width = gate.shape[2:]
    return (
        gate.flatten(2)
        .unflatten(2, (height * width, experts))
        .transpose(2, 3)
        .unflatten(3, (height, width))
    )
