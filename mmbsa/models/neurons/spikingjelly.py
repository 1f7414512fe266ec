"""SpikingJelly's neurons as registry types without a state between two forwards.

``dict(type='mmbsa.LIFNode', tau=2.0)`` builds a subclass of
``spikingjelly.activation_based.neuron.LIFNode`` with the same name. The equations, kernels and
parameters are SpikingJelly's; only the handling of the state is different.
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
    """Properties of a SpikingJelly neuron, from SpikingJelly's documentation and code.

    Args:
        domain: the domain of the output, or a function of the neuron that returns it; None means
            real-valued output; default binary.
        no_stream: why the neuron cannot run step by step; None (default) if it can.
        pointwise: whether every neuron is independent of the others, so that the order of the axes
            after T has no effect; default False.
        ternary: for neurons that :func:`mmbsa.ops.lif` computes with the same numbers, whether
            spikes are signed; None (default) for all others.
    """

    domain: SpikeDomain | Callable[[nn.Module], SpikeDomain | None] | None = BINARY
    no_stream: str | None = None
    pointwise: bool = False
    ternary: bool | None = None


def _rate_unit(node: nn.Module) -> SpikeDomain:
    """Return the domain of a DSR neuron: the value of a spike is its (learnable) threshold, for DSR
    LIF divided by ``delta_t``."""
    threshold = node.v_threshold.detach().clamp(min=node.v_threshold_lower_bound)
    return SpikeDomain(0, 1, float(threshold / getattr(node, 'delta_t', 1)))


_MIXES = 'it multiplies all steps of the sequence by one matrix over T'
_STEPS = 'it has different parameters for every step'
_RATES = 'its gradient is that of the firing rate over all steps'
_TABLE = 'it sums the input of all steps before the first spike'
_LAYERS = 'it connects the neurons of a layer through attributes of the node'
_NOISE = 'it samples noise for a whole sequence'
_DECODES = 'it reads out the potentials of all steps together'
_REAL = NodeFacts(None)
_POINTWISE = NodeFacts(pointwise=True)
#: SpikingJelly's neurons by name; the domain of a neuron that is not listed is measured.
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
    """Mixin for SpikingJelly neurons: multi-step mode, and every forward starts at rest.

    The state is in local variables. Two forwards of the same input agree bit for bit, no reset or
    copy of a state is needed, and checkpoints contain no state.

    Args:
        surrogate_function: a name, a config or a module, see :func:`build_surrogate`. Every neuron
            gets its own copy. None (default) is the surrogate of the SpikingJelly class.
        kwargs: arguments of the SpikingJelly class. Integers are accepted for floats. ``step_mode``
            is always ``'m'``.

    Raises:
        TypeError: an argument that the class does not have; the message lists its arguments.
        ValueError: SpikingJelly does not accept the value of an argument.
    """

    #: properties of the neuron, from ``FACTS``.
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
            raise TypeError(f"{name}: step_mode must be 'm'; inputs have the shape (T, ...)")
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
                f'{name}: SpikingJelly does not accept {given}: {error or type(error).__name__}'
            ) from error
        if (
            isinstance(getattr(self, 'surrogate_function', None), nn.Module)
            and surrogate_function is None
        ):
            self.surrogate_function = build_surrogate(
                self.surrogate_function
            )  # a default value is one object for all neurons of a class

    @property
    def domain(self) -> SpikeDomain | None:
        """The domain of the output; None (real-valued) if the surrogate computes its primitive
        function."""
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
        """Whether the domain was measured on a neuron with learnable parameters."""
        return self.facts is None and any(True for _ in self.parameters())

    @property
    def _online(self) -> bool:
        """Whether this is an online-learning neuron: it supports single steps only, and its
        eligibility trace, which OTTT layers use, is not used here."""
        return isinstance(self, _OnlineLIFNode)

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run the neuron over T time steps.

        Args:
            x: input current (T, *).
            state: SpikingJelly's memories after the previous step; None (default) starts at rest.

        Returns:
            Spikes (T, *), and the memories after the last step. Non-spiking readout neurons return
            the output of SpikingJelly.
        """
        dynamics = self._dynamics(x)
        if dynamics is not None:
            rest = 0.0 if self.v_reset is None else float(self.v_reset)
            return lif(x, rest if state is None else state, **dynamics)
        dtype, working = x.dtype, working_dtype(x.dtype)
        if dtype != working or torch.is_autocast_enabled(x.device.type):
            # Membrane potentials of 16 bits would be rounded in every step.
            with torch.autocast(x.device.type, enabled=False):
                spikes, state = self._integrate(x.to(working), state)
            return spikes.to(dtype) if isinstance(spikes, Tensor) else spikes, state
        return self._integrate(x, state)

    def _integrate(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        if self._permutes(x):
            # SpikingJelly's loop over T writes contiguous tensors. A channels-last tensor with its
            # channel axis moved to the end is contiguous, and keeps its layout forward and
            # backward; with mixed layouts batch norm is many times slower.
            spikes, state = self._run(x.permute(0, 1, 3, 4, 2), _permuted(state, (0, 2, 3, 1)))
            return spikes.permute(0, 1, 4, 2, 3), _permuted(state, (0, 3, 1, 2))
        return self._run(x, state)

    def from_rest(self, x: Tensor) -> Tensor:
        """Return the spikes (T, *) for an input current (T, *), from rest; the fused op then writes
        no membrane potential."""
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
        """Return the arguments of :func:`mmbsa.ops.lif`, or None if SpikingJelly's own kernels run.

        These run for every neuron that is not a plain (ternary) LIF or IF neuron, and for binary
        spikes on a GPU, where SpikingJelly has fused kernels.
        """
        step = getattr(
            type(self), 'single_step_functional_forward', None
        )  # the step of a subclass may differ
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
        ):  # a neuron with its state in attributes: set it to rest before and after
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
        """Run a neuron that keeps its membrane potential in plain attributes, and remove these
        attributes."""
        if hasattr(self, 'reset_noise'):  # coloured noise is sampled once per sequence
            self.reset_noise(1)
        kept = {key: value for key, value in vars(self).items() if not isinstance(value, Tensor)}
        # inter-layer connections are added to the input in place
        out = super(Stateful, self).forward(x.clone())
        for key in [key for key, value in vars(self).items() if isinstance(value, Tensor)]:
            delattr(self, key)
        vars(self).update(kept)
        return out


def _permuted(state: Any, order: tuple[int, ...]) -> Any:
    """Return the state with the axes of every tensor in another order."""
    if isinstance(state, Tensor):
        return state.permute(order) if state.ndim == len(order) else state
    return (
        tuple(_permuted(part, order) for part in state)
        if isinstance(state, tuple | list)
        else state
    )


def constructor_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Return the constructor arguments of the SpikingJelly class under ``cls``, with those that it
    passes to its base classes."""
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
    """Convert a value of a config file to the type that SpikingJelly needs: floats, callables,
    few-spike tables."""
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
        doc = f'{original} without a state between forwards; see :class:`StatelessNode`.'
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
