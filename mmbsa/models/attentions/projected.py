"""The attention block of a family: projections around an attention kind."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from mmbsa.models.attentions.base import build_attention
from mmbsa.models.layers import RepConv
from mmbsa.models.neurons import build_neuron
from mmbsa.spiking import domain_of, mark

Projection = Callable[[int, int], nn.Module]


class ProjectedAttention(nn.Module):
    """An attention block: neuron, projections to q, k and v, attention kind, output projection,
    neuron.

    The attention config may have two further keys for the projections. They work for every
    attention kind and family, and the ablations of the STEP benchmark use them:

    * ``frozen=('q', 'k')``: the convolutions of these projections (any of q, k, v, proj) keep their
      random initial weights; their norms are trained.
    * ``projection='rep_conv'``: all projections are RepConv, as in Meta-SpikeFormer, instead of 1x1
      convolutions.

    Args:
        channels: C, number of channels of input and output.
        num_heads: number of heads of the attention kind.
        attention: config of the attention kind.
        neuron: neuron config of the family.
        project: function of (in channels, out channels) that returns a module from time-major
            spikes to potentials. It is called once for each of q, k and v.
        project_out: the same for the output projection; None (default) means ``project``.
        project_kv: the same for k and v, which may have a smaller height and width than q; None
            (default) means ``project``.
        value_dims: number of channels of v; None (default) means C.
        family_scale: scale of the family's own attention, for kinds that use it; default None.
        neuron_first: apply the neuron before the projections (families with membrane shortcuts);
            default True.
        neuron_last: apply the neuron after the output projection (families with spike shortcuts);
            default False.
        norm_cfg: norm config of RepConv projections; None (default) means the norm of ``project``
            if that is a ``functools.partial`` with one, otherwise BN.

    Raises:
        ValueError: ``projection`` or ``frozen`` in the attention config is unknown, or the family
            or the attention kind does not support it.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        attention: dict,
        neuron: dict,
        project: Projection,
        project_out: Projection | None = None,
        project_kv: Projection | None = None,
        value_dims: int | None = None,
        family_scale: float | None = None,
        neuron_first: bool = True,
        neuron_last: bool = False,
        norm_cfg: dict | None = None,
    ):
        super().__init__()
        value_dims = value_dims or channels
        kind, frozen, projection = _split(attention)
        if projection == 'rep_conv':
            if project_kv is not None:
                raise ValueError(
                    "attention.projection='rep_conv' replaces 1x1 convolutions, but this family "
                    'has strided convolutions for k and v'
                )
            norm_cfg = norm_cfg or getattr(project, 'keywords', {}).get('norm_cfg')
            project = project_out = partial(RepConv, norm_cfg=norm_cfg)
        self.neuron = build_neuron(neuron if neuron_first else None)
        self.attn = attn = build_attention(
            kind,
            embed_dims=channels,
            num_heads=num_heads,
            value_dims=value_dims,
            neuron=neuron,
            family_scale=family_scale,
        )
        self.marks = not any(getattr(m, 'domain_may_change', False) for m in attn.modules())
        if project_kv is None or attn.pointwise:
            project_kv = project
        project_out = project_out or project
        queries = (
            [project(channels, dims) for dims in attn.query_dims] if attn.uses_query else [None]
        )
        self.q = queries[0] if len(queries) == 1 else nn.ModuleList(queries)
        self.k = project_kv(channels, attn.key_dims)
        self.v = project_kv(channels, value_dims) if attn.uses_value else None
        self.gate = project_out(channels, attn.gate_dims) if attn.gate_dims else None
        self.proj = project_out(value_dims if attn.uses_value else channels, channels)
        self.last_neuron = build_neuron(neuron if neuron_last else None)
        self._register_load_state_dict_pre_hook(_rename_mixing)
        for name in frozen:
            if getattr(self, name) is None:
                raise ValueError(
                    f'attention.frozen={frozen}: {type(attn).__name__} has no projection of {name}'
                )
            for module in getattr(self, name).modules():
                if isinstance(module, nn.Conv2d):
                    module.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (T, B, C, H, W) for an input (T, B, C, H, W)."""
        x = self.neuron(x)
        if isinstance(self.q, nn.ModuleList):
            q = tuple(project(x) for project in self.q)
        else:
            q = x if self.q is None else self.q(x)
        v = None if self.v is None else self.v(x)
        gate = () if self.gate is None else (self.gate(x),)
        spikes = self.attn(q, self.k(x), v, *gate)
        if self.marks:
            spikes = mark(spikes, domain_of(self.attn))
        return self.last_neuron(self.proj(spikes))


def _rename_mixing(state: dict, prefix: str, *args) -> None:
    """Rename the key ``mixing`` of the attention kind in checkpoints of mmbsa 0.1."""
    for key in [key for key in state if key.startswith(f'{prefix}mixing.')]:
        state[f'{prefix}attn.{key.removeprefix(f"{prefix}mixing.")}'] = state.pop(key)


def _split(attention: dict) -> tuple[dict, tuple[str, ...], str | None]:
    """Return the attention config without ``frozen`` and ``projection``, and the values of these
    two keys."""
    if not isinstance(attention, dict):
        return attention, (), None
    kind = dict(attention)
    frozen, projection = kind.pop('frozen', ()), kind.pop('projection', None)
    frozen = (frozen,) if isinstance(frozen, str) else tuple(frozen)
    unknown = set(frozen) - {'q', 'k', 'v', 'proj'}
    if unknown:
        raise ValueError(f'attention.frozen={frozen} must name projections among q, k, v, proj')
    if projection not in (None, 'rep_conv'):
        raise ValueError(f"attention.projection must be 'rep_conv' or None, got {projection!r}")
    return kind, frozen, projection
