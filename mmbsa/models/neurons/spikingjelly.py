"""SpikingJelly's neurons as registry types that forget everything between two forwards.

``dict(type='mmbsa.LIFNode', tau=2.0)`` builds a subclass of ``spikingjelly.activation_based.neuron.LIFNode`` with the
same name. The equations, kernels and parameters are SpikingJelly's; only the handling of state is ours.
"""
import inspect
from collections.abc import Sequence

import torch
from spikingjelly.activation_based import base, neuron
from spikingjelly.activation_based.neuron.few_spike import FewSpikeTable
from spikingjelly.activation_based.neuron.online_learning import _OnlineLIFNode
from torch import Tensor, nn

from mmbsa.models.neurons.surrogates import FUSED, build_surrogate
from mmbsa.ops import lif
from mmbsa.registry import MODELS

#: nodes to which the order of the axes behind T means nothing: no parameter belongs to a channel.
_POINTWISE = (neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode, neuron.TernaryIFNode, neuron.TernaryLIFNode,
              neuron.KLIFNode, neuron.EIFNode, neuron.QIFNode, neuron.IzhikevichNode, neuron.ComplementaryLIFNode)
#: nodes that :func:`mmbsa.ops.lif` computes with the same numbers: node -> ternary spikes.
_LIF = {neuron.IFNode: False, neuron.LIFNode: False, neuron.TernaryIFNode: True, neuron.TernaryLIFNode: True}


class StatelessNode:
    """Mixin before a SpikingJelly node: multi-step, and at rest at the beginning of every forward.

    The state lives in local variables of ``forward``, so two forwards agree bit for bit, and there is nothing to reset,
    to copy or to leak into a checkpoint.

    Args:
        surrogate_function: a name, a config or a module, see :func:`build_surrogate`. Never shared between neurons.
        kwargs: what the SpikingJelly class takes. Integers are accepted where it wants floats. ``step_mode`` is always
            ``'m'``.

    Raises:
        TypeError: an argument that the class does not have; the message lists those it has.
    """

    def __init__(self, *, surrogate_function: dict | str | nn.Module | None = None, **kwargs):
        name = type(self).__name__
        parameters = _parameters(type(self))
        if surrogate_function is not None:
            kwargs['surrogate_function'] = build_surrogate(surrogate_function)
        unknown = set(kwargs) - set(parameters)
        if unknown:
            raise TypeError(f"{name} has no argument {', '.join(sorted(unknown))}; it takes "
                            f"{', '.join(p for p in parameters if p != 'step_mode')}")
        if kwargs.pop('step_mode', 'm') != 'm':
            raise TypeError(f"{name}: step_mode is always 'm' here; inputs are (T, ...)")
        kwargs = {key: _from_config(value, parameters[key]) for key, value in kwargs.items()}
        if 'step_mode' in parameters:
            kwargs['step_mode'] = 's' if self._online else 'm'
        super().__init__(**kwargs)
        if isinstance(getattr(self, 'surrogate_function', None), nn.Module) and surrogate_function is None:
            self.surrogate_function = build_surrogate(self.surrogate_function)  # defaults are built once per class

    @property
    def _online(self) -> bool:
        """Online-learning nodes know single steps only; their eligibility trace, made for OTTT layers, is not used."""
        return isinstance(self, _OnlineLIFNode)

    def forward(self, x: Tensor) -> Tensor:
        """(T, *) input current -> (T, *) spikes, from rest. Non-spiking readout nodes return what SpikingJelly's do."""
        dynamics = self._dynamics(x)
        if dynamics is not None:
            return lif(x, **dynamics)
        if isinstance(self, _POINTWISE) and x.ndim == 5 and not x.is_contiguous():
            # SpikingJelly's loop over T writes contiguous tensors. Shown with its channels at the end, a channels-last map
            # is one, and keeps its layout forward and backward; with two layouts batch norm is many times slower.
            return self._fire(x.permute(0, 1, 3, 4, 2)).permute(0, 1, 4, 2, 3)
        return self._fire(x)

    def _dynamics(self, x: Tensor) -> dict | None:
        """Arguments of :func:`mmbsa.ops.lif`, or None where SpikingJelly's own kernels run: everything that is no plain
        (ternary) LIF or IF, and binary spikes on a GPU, for which SpikingJelly has fused kernels."""
        step = getattr(type(self), 'single_step_functional_forward', None)  # that of a subclass may differ
        kind = next((kind for kind in _LIF if kind.single_step_functional_forward is step), None)
        surrogate = getattr(self, 'surrogate_function', None)
        name = FUSED.get(type(surrogate))
        if kind is None or name is None or not surrogate.spiking or isinstance(surrogate.alpha, Tensor):
            return None
        if not _LIF[kind] and x.device.type != 'cpu':
            return None
        leak = dict(tau=self.tau, decay_input=self.decay_input) if hasattr(self, 'tau') else dict(tau=None)
        return dict(leak, v_threshold=self.v_threshold, v_reset=self.v_reset, detach_reset=self.detach_reset,
                    surrogate=name, alpha=float(surrogate.alpha), signed=_LIF[kind])

    def _fire(self, x: Tensor) -> Tensor:
        if not isinstance(self, base.MemoryModule):
            return self._forward_and_forget(x)
        if isinstance(self, neuron.SimpleBaseNode):  # keeps its state in attributes: start and leave at rest
            self.reset()
            spikes = super().forward(x)
            self.reset()
            return spikes
        memories = tuple(self._memories.values())
        if not self._online:
            outputs, _ = self.multi_step_functional_forward((x,), self.materialize_states((x,), memories, 'm'))
            return outputs[0]
        states, spikes = self.materialize_states((x[0],), memories, 's'), []
        for x_t in x:
            outputs, states = self.single_step_functional_forward((x_t,), states)
            spikes.append(outputs[0])
        return torch.stack(spikes)

    def _forward_and_forget(self, x: Tensor) -> Tensor:
        """Run a node that keeps its membrane in plain attributes, and take them away again."""
        if hasattr(self, 'reset_noise'):  # colored noise is drawn per sequence
            self.reset_noise(1)
        kept = {key: value for key, value in vars(self).items() if not isinstance(value, Tensor)}
        out = super().forward(x.clone())  # inter-layer connections are added to the input in place
        for key in [key for key, value in vars(self).items() if isinstance(value, Tensor)]:
            delattr(self, key)
        vars(self).update(kept)
        return out


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Constructor arguments of the SpikingJelly class under ``cls``, those that it passes on included."""
    found = {}
    for klass in cls.__mro__:
        if klass is StatelessNode or '__init__' not in vars(klass) or not issubclass(klass, nn.Module):
            continue
        own = dict(inspect.signature(klass.__init__).parameters)
        own.pop('self')
        found = {**own, **found}
        if not any(p.kind is p.VAR_KEYWORD for p in own.values()):
            break
    return {k: p for k, p in found.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def _from_config(value: object, parameter: inspect.Parameter) -> object:
    """Turn what a config file can hold into what SpikingJelly wants: floats, callables, few-spike tables."""
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
    return (inspect.isclass(cls) and issubclass(cls, nn.Module) and not name.startswith('_')
            and (name.endswith('Node') or name.endswith('PSN')) and not name.endswith('BaseNode'))


def _register() -> Sequence[str]:
    names = sorted(name for name, cls in vars(neuron).items() if _is_node(name, cls))
    for name in names:
        parent = getattr(neuron, name)
        doc = f'``spikingjelly.activation_based.neuron.{name}``, stateless; see :class:`StatelessNode`.'
        cls = type(name, (StatelessNode, parent), {'__doc__': doc, '__module__': __name__})
        globals()[name] = MODELS.register_module(module=cls)
    return names


#: names of all SpikingJelly nodes registered here.
NODE_NAMES = tuple(_register())
__all__ = ['NODE_NAMES', 'StatelessNode', *NODE_NAMES]
