"""SpikingJelly's neurons as registry types that forget everything between two forwards.

``dict(type='mmbsa.LIFNode', tau=2.0)`` builds a subclass of
``spikingjelly.activation_based.neuron.LIFNode`` with the same name. The equations, kernels and
parameters are SpikingJelly's; only the handling of state is ours.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from spikingjelly.activation_based import base, neuron
from spikingjelly.activation_based.neuron.few_spike import FewSpikeTable
from spikingjelly.activation_based.neuron.online_learning import _OnlineLIFNode
from torch import Tensor, nn

from mmbsa.models.neurons.surrogates import FUSED, build_surrogate
from mmbsa.ops import lif
from mmbsa.ops.registration import working_dtype
from mmbsa.registry import MODELS
from mmbsa.spiking import (
    BINARY,
    TERNARY,
    SpikeDomain,
    SpikingNeuron,
    Stateful,
    counts,
    measure_domain,
)


@dataclass(frozen=True)
class NodeFacts:
    """What SpikingJelly's documentation and code say of one of its nodes.

    Args:
        domain: what it emits, or a function of the node that returns it; None for real-valued
            output.
        no_stream: why it cannot run step by step, or None.
        pointwise: whether every neuron is independent of the others, so that the order of the axes
            after T has no effect.
        ternary: for nodes that :func:`mmbsa.ops.lif` computes with the same numbers, whether its
            spikes are signed.
    """

    domain: SpikeDomain | Callable[[nn.Module], SpikeDomain | None] | None = BINARY
    no_stream: str | None = None
    pointwise: bool = False
    ternary: bool | None = None


def _rate_unit(node: nn.Module) -> SpikeDomain:
    """Spikes of the DSR nodes are as high as their (learnable) threshold, of DSR LIF over its
    ``delta_t``."""
    threshold = node.v_threshold.detach().clamp(min=node.v_threshold_lower_bound)
    return SpikeDomain(0, 1, float(threshold / getattr(node, 'delta_t', 1)))


_MIXES = 'it weighs all steps of the sequence with one matrix over T'
_STEPS = 'its parameters belong to single steps'
_RATES = 'its gradient is that of the rate over all steps'
_TABLE = 'it sums the input of all steps before the first spike'
_LAYERS = 'it connects the neurons of a layer through attributes of the node'
_NOISE = 'it draws noise for a whole sequence'
_DECODES = 'it reads out the potentials of all steps together'
_REAL = NodeFacts(None)
_POINTWISE = NodeFacts(pointwise=True)
#: SpikingJelly's nodes by name; one that is not listed is measured.
FACTS = dict(
    ActivationAwareIFNode=NodeFacts(),
    CUBALIFNode=NodeFacts(),
    ComplementaryLIFNode=_POINTWISE,
    DSRIFNode=NodeFacts(_rate_unit, _RATES),
    DSRLIFNode=NodeFacts(_rate_unit, _RATES),
    EIFNode=_POINTWISE,
    FewSpikeNode=NodeFacts(None, _TABLE),
    GatedLIFNode=NodeFacts(no_stream=_STEPS),
    HGNode=NodeFacts(None, _TABLE),
    HalfThresholdIFNode=NodeFacts(),
    IFNode=NodeFacts(pointwise=True, ternary=False),
    ILCCUBALIFNode=NodeFacts(no_stream=_LAYERS),
    ILCIFNode=NodeFacts(no_stream=_LAYERS),
    ILCLIFNode=NodeFacts(no_stream=_LAYERS),
    ILIFNode=NodeFacts(lambda node: counts(node.surrogate_function.max_spike_count)),
    IzhikevichNode=_POINTWISE,
    KLIFNode=_POINTWISE,
    LIAFNode=_REAL,
    LIFNode=NodeFacts(pointwise=True, ternary=False),
    MPBNLIFNode=NodeFacts(),
    MaskedPSN=NodeFacts(no_stream=_MIXES),
    NoisyCUBALIFNode=NodeFacts(None, _NOISE),
    NoisyILCCUBALIFNode=NodeFacts(None, _NOISE),
    NoisyNonSpikingIFNode=NodeFacts(None, _NOISE),
    NonSpikingIFNode=NodeFacts(None, _DECODES),
    NonSpikingLIFNode=NodeFacts(None, _DECODES),
    OTTTLIFNode=NodeFacts(),
    OutlierAwareThresholdNode=NodeFacts(None, _TABLE),
    PSN=NodeFacts(no_stream=_MIXES),
    ParametricLIFNode=_POINTWISE,
    QIFNode=_POINTWISE,
    RAFNode=NodeFacts(),
    SLTTLIFNode=NodeFacts(),
    STBIFNode=NodeFacts(lambda node: SpikeDomain(-1, 1, float(node.q_threshold))),
    SimpleIFNode=NodeFacts(),
    SimpleLIFNode=NodeFacts(),
    SlidingPSN=NodeFacts(no_stream=_MIXES),
    TernaryIFNode=NodeFacts(TERNARY, pointwise=True, ternary=True),
    TernaryLIFNode=NodeFacts(TERNARY, pointwise=True, ternary=True),
)


class StatelessNode(SpikingNeuron):
    """Mixin before a SpikingJelly node: multi-step, and at rest at the beginning of every forward.

    The state is in local variables, so two forwards agree bit for bit, there is nothing to reset or
    to copy, and checkpoints have no state.

    Args:
        surrogate_function: a name, a config or a module, see :func:`build_surrogate`. Never shared
            between neurons.
        kwargs: what the SpikingJelly class takes. Integers are accepted where it wants floats.
            ``step_mode`` is always ``'m'``.

    Raises:
        TypeError: an argument that the class does not have; the message lists those it has.
    """

    #: set per class from ``FACTS``.
    facts: NodeFacts | None = None

    def __init__(self, *, surrogate_function: dict | str | nn.Module | None = None, **kwargs):
        name = type(self).__name__
        parameters = constructor_parameters(type(self))
        if surrogate_function is not None:
            kwargs['surrogate_function'] = build_surrogate(surrogate_function)
        unknown = set(kwargs) - set(parameters)
        if unknown:
            raise TypeError(
                f'{name} has no argument {", ".join(sorted(unknown))}; it takes '
                f'{", ".join(p for p in parameters if p != "step_mode")}'
            )
        if kwargs.pop('step_mode', 'm') != 'm':
            raise TypeError(f"{name}: step_mode is always 'm' here; inputs are (T, ...)")
        kwargs = {key: _from_config(value, parameters[key]) for key, value in kwargs.items()}
        if 'step_mode' in parameters:
            kwargs['step_mode'] = 's' if self._online else 'm'
        try:
            super().__init__(**kwargs)
        except (TypeError, AssertionError, AttributeError, ValueError) as error:
            given = ', '.join(
                f'{key}={value!r}' for key, value in kwargs.items() if key != 'surrogate_function'
            )
            raise ValueError(
                f'{name}: SpikingJelly refuses {given}: {error or type(error).__name__}'
            ) from error
        if (
            isinstance(getattr(self, 'surrogate_function', None), nn.Module)
            and surrogate_function is None
        ):
            self.surrogate_function = build_surrogate(
                self.surrogate_function
            )  # defaults are built once per class

    @property
    def domain(self) -> SpikeDomain | None:
        """What the node emits; real-valued where its surrogate computes the primitive function."""
        if not getattr(getattr(self, 'surrogate_function', None), 'spiking', True):
            return None
        if self.facts is None:
            measured = vars(self).get('_measured', ...)
            if measured is ...:
                measured = vars(self)['_measured'] = measure_domain(self)
            return measured
        return self.facts.domain(self) if callable(self.facts.domain) else self.facts.domain

    @property
    def domain_may_change(self) -> bool:
        """Whether the domain was measured on a node that learns."""
        return self.facts is None and any(True for _ in self.parameters())

    @property
    def _online(self) -> bool:
        """Online-learning nodes know single steps only; their eligibility trace, made for OTTT
        layers, is not used."""
        return isinstance(self, _OnlineLIFNode)

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """(T, *) input current -> (T, *) spikes, and SpikingJelly's memories after the last step.

        Non-spiking readout nodes return what SpikingJelly's do.
        """
        dynamics = self._dynamics(x)
        if dynamics is not None:
            rest = 0.0 if self.v_reset is None else float(self.v_reset)
            return lif(x, rest if state is None else state, **dynamics)
        dtype, working = x.dtype, working_dtype(x.dtype)
        if dtype != working or torch.is_autocast_enabled(x.device.type):
            # Membranes of 16 bits would round at every step.
            with torch.autocast(x.device.type, enabled=False):
                spikes, state = self._integrate(x.to(working), state)
            return spikes.to(dtype) if isinstance(spikes, Tensor) else spikes, state
        return self._integrate(x, state)

    def _integrate(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        if self._permutes(x):
            # SpikingJelly's loop over T writes contiguous tensors. Shown with its channels at the
            # end, a channels-last map is one, and keeps its layout forward and backward; with two
            # layouts batch norm is many times slower.
            spikes, state = self._run(x.permute(0, 1, 3, 4, 2), _permuted(state, (0, 2, 3, 1)))
            return spikes.permute(0, 1, 4, 2, 3), _permuted(state, (0, 3, 1, 2))
        return self._run(x, state)

    def from_rest(self, x: Tensor) -> Tensor:
        """Spikes alone; the fused op then writes no membrane."""
        dynamics = self._dynamics(x)
        return self.run(x)[0] if dynamics is None else lif(x, **dynamics)

    def _permutes(self, x: Tensor) -> bool:
        return (
            self.facts is not None
            and self.facts.pointwise
            and x.ndim == 5
            and not x.is_contiguous()
        )

    def _dynamics(self, x: Tensor) -> dict | None:
        """Arguments of :func:`mmbsa.ops.lif`, or None where SpikingJelly's own kernels run:
        everything that is no plain (ternary) LIF or IF, and binary spikes on a GPU, for which
        SpikingJelly has fused kernels."""
        step = getattr(
            type(self), 'single_step_functional_forward', None
        )  # that of a subclass may differ
        signed = _FUSED_STEPS.get(step)
        surrogate = getattr(self, 'surrogate_function', None)
        name = FUSED.get(type(surrogate))
        if (
            signed is None
            or name is None
            or not surrogate.spiking
            or isinstance(surrogate.alpha, Tensor)
        ):
            return None
        if not signed and x.device.type != 'cpu':
            return None
        leak = (
            dict(tau=self.tau, decay_input=self.decay_input)
            if hasattr(self, 'tau')
            else dict(tau=None)
        )
        return dict(
            leak,
            v_threshold=self.v_threshold,
            v_reset=self.v_reset,
            detach_reset=self.detach_reset,
            surrogate=name,
            alpha=float(surrogate.alpha),
            signed=signed,
        )

    def _run(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        if not isinstance(self, base.MemoryModule):
            return self._forward_and_forget(x), None
        if isinstance(
            self, neuron.SimpleBaseNode
        ):  # keeps its state in attributes: start and leave at rest
            self.reset()
            if state is not None:
                (self.v,) = state
            spikes = super().multi_step_forward(x)
            state = (self.v,)
            self.reset()
            return spikes, state
        mode = 's' if self._online else 'm'
        states = tuple(self._memories.values()) if state is None else state
        states = self.materialize_states((x[0] if self._online else x,), states, mode)
        if not self._online:
            outputs, states = self.multi_step_functional_forward((x,), states)
            return outputs[0], states
        spikes = []
        for x_t in x:
            outputs, states = self.single_step_functional_forward((x_t,), states)
            spikes.append(outputs[0])
        return torch.stack(spikes), states

    def _forward_and_forget(self, x: Tensor) -> Tensor:
        """Run a node that keeps its membrane in plain attributes, and take them away again."""
        if hasattr(self, 'reset_noise'):  # colored noise is drawn per sequence
            self.reset_noise(1)
        kept = {key: value for key, value in vars(self).items() if not isinstance(value, Tensor)}
        # inter-layer connections are added to the input in place
        out = super(Stateful, self).forward(x.clone())
        for key in [key for key, value in vars(self).items() if isinstance(value, Tensor)]:
            delattr(self, key)
        vars(self).update(kept)
        return out


def _permuted(state: Any, order: tuple[int, ...]) -> Any:
    """Every tensor of a state with its axes in another order."""
    if isinstance(state, Tensor):
        return state.permute(order) if state.ndim == len(order) else state
    return (
        tuple(_permuted(part, order) for part in state)
        if isinstance(state, tuple | list)
        else state
    )


def constructor_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Constructor arguments of the SpikingJelly class under ``cls``, those that it passes on
    included."""
    found = {}
    for klass in cls.__mro__:
        if (
            klass is StatelessNode
            or '__init__' not in vars(klass)
            or not issubclass(klass, nn.Module)
        ):
            continue
        own = dict(inspect.signature(klass.__init__).parameters)
        own.pop('self')
        found = {**own, **found}
        if not any(p.kind is p.VAR_KEYWORD for p in own.values()):
            break
    return {k: p for k, p in found.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def _from_config(value: object, parameter: inspect.Parameter) -> object:
    """Turn what a config file can hold into what SpikingJelly wants: floats, callables, few-spike
    tables."""
    annotation = str(parameter.annotation)
    if type(value) is int and (isinstance(parameter.default, float) or 'float' in annotation):
        return float(value)
    if 'Callable' in annotation and isinstance(value, str):
        return getattr(torch, value)
    if 'FewSpikeTable' in annotation and isinstance(value, dict):
        return FewSpikeTable(**value)
    if 'FewSpikeTable' in annotation and isinstance(value, Sequence):
        return [FewSpikeTable(**table) if isinstance(table, dict) else table for table in value]
    return value


def _is_node(name: str, cls: object) -> bool:
    return (
        inspect.isclass(cls)
        and issubclass(cls, nn.Module)
        and not name.startswith('_')
        and (name.endswith('Node') or name.endswith('PSN'))
        and not name.endswith('BaseNode')
    )


def _register() -> Sequence[str]:
    names = sorted(name for name, cls in vars(neuron).items() if _is_node(name, cls))
    for name in names:
        parent = getattr(neuron, name)
        original = f'``spikingjelly.activation_based.neuron.{name}``'
        doc = f'{original}, stateless; see :class:`StatelessNode`.'
        facts = FACTS.get(name)
        cls = type(
            name,
            (StatelessNode, parent),
            {
                '__doc__': doc,
                '__module__': __name__,
                'facts': facts,
                'no_stream': facts and facts.no_stream,
            },
        )
        globals()[name] = MODELS.register_module(module=cls)
    return names


#: step functions of the nodes that :func:`mmbsa.ops.lif` computes -> whether spikes are signed.
_FUSED_STEPS = {
    getattr(neuron, name).single_step_functional_forward: facts.ternary
    for name, facts in FACTS.items()
    if facts.ternary is not None
}
#: names of all SpikingJelly nodes registered here.
NODE_NAMES = tuple(_register())
__all__ = ['NODE_NAMES', 'StatelessNode', *NODE_NAMES]
