"""The family's half of an attention block: projections around a kind of attention."""
from collections.abc import Callable

from torch import Tensor, nn

from mmbsa.models.attentions.base import build_attention
from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS


class ProjectedAttention(nn.Module):
    """neuron -> q, k, v projections -> attention kind -> output projection (-> neuron).

    Args:
        channels: C of input and output.
        num_heads: heads of the kind.
        attention: config of the kind.
        neuron: the host's neuron config.
        project: from (in channels, out channels) to a module that turns time-major spikes into potentials; a fresh one
            for each of q, k and v.
        project_out: the same for the output; None means ``project``.
        value_dims: channels of v; None means C.
        host_scale: scale of the family's native attention, for kinds that want it.
        neuron_first: fire before the projections (families with membrane shortcuts).
        neuron_last: fire after the output projection (families with spike shortcuts).
        num_steps: T.
    """

    def __init__(self, channels: int, num_heads: int, attention: dict, neuron: dict,
                 project: Callable[[int, int], nn.Module], project_out: Callable[[int, int], nn.Module] | None = None,
                 value_dims: int | None = None, host_scale: float | None = None, neuron_first: bool = True,
                 neuron_last: bool = False, num_steps: int = 1):
        super().__init__()
        value_dims = value_dims or channels
        self.neuron = build_neuron(neuron if neuron_first else None, num_steps)
        self.mixing = build_attention(attention, MODELS, embed_dims=channels, num_heads=num_heads,
                                      value_dims=value_dims, neuron=neuron, host_scale=host_scale, num_steps=num_steps)
        self.q, self.k = project(channels, channels), project(channels, channels)
        self.v = project(channels, value_dims) if self.mixing.uses_value else None
        self.proj = (project_out or project)(value_dims if self.mixing.uses_value else channels, channels)
        self.last_neuron = build_neuron(neuron if neuron_last else None, num_steps)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, H, W) -> (T, B, C, H, W)."""
        x = self.neuron(x)
        v = None if self.v is None else self.v(x)
        return self.last_neuron(self.proj(self.mixing(self.q(x), self.k(x), v)))
