"""Neurons of other libraries (snnTorch, Norse, BrainCog, ...) with the interface of
:class:`mmbsa.spiking.SpikingNeuron`."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from mmbsa.ops.registration import working_dtype
from mmbsa.registry import MODELS
from mmbsa.spiking import BINARY, TERNARY, SpikeDomain, SpikingNeuron, measure_domain

#: short name of a library -> the module that contains its neurons and their options.
MODULES = dict(
    norse='norse.torch',
    braincog='braincog.base.node.node',
    spikingjelly='spikingjelly.activation_based.neuron',
)
DOMAINS = dict(binary=BINARY, ternary=TERNARY, real=None)


@MODELS.register_module()
class ForeignNode(SpikingNeuron):
    """A neuron of another library that computes one step per call, with an explicit state.

    The library is imported when the node is built. Its neuron is a submodule: its parameters are
    trained and saved, and the gradients are those of the library. Three protocols for the state are
    supported:

    * ``'returned'``: ``spikes, state = node(x_t, state)``; the state may be None (Norse).
    * ``'arguments'``: ``spikes, *states = node(x_t, *states)`` (snnTorch).
    * ``'hidden'``: ``spikes = node(x_t)``; the state is the tensors that a step stores in
      attributes (BrainCog, SpikingJelly's single steps). They are removed after every step, so that
      the module keeps no state.

    Args:
        cls: the class, or its dotted name: ``'snntorch.Leaky'``, ``'norse.torch.LIFBoxCell'``,
            ``'braincog.LIFNode'``.
        domain: ``'measure'`` (default), ``'binary'``, ``'ternary'``, ``'real'``, or
            ``dict(low, high, unit)``.
        protocol: one of the three protocols, or ``'auto'`` (default): ``'arguments'`` for snnTorch,
            ``'returned'`` for a ``forward`` with an argument ``state``, otherwise ``'hidden'``.
        options: arguments of the class. An option
            ``dict(type='snntorch.surrogate.fast_sigmoid', slope=25)`` is replaced by the result of
            calling that function; a list of numbers stays a list,
            ``dict(type='torch.tensor', data=...)`` gives a tensor.

    Raises:
        ImportError: the library is not installed.
        AttributeError: the library has no such class or function.
        TypeError: the class does not have an option or is not a module, or ``domain`` or
            ``protocol`` is unknown.
        ValueError: the output of the neuron has another shape than its input.
    """

    def __init__(
        self, cls: str | type, domain: str | Mapping = 'measure', protocol: str = 'auto', **options
    ):
        super().__init__()
        found = locate(cls) if isinstance(cls, str) else cls
        self.name = cls if isinstance(cls, str) else f'{cls.__module__}.{cls.__qualname__}'
        if not (inspect.isclass(found) and issubclass(found, nn.Module)):
            raise TypeError(
                f'ForeignNode.cls={self.name!r} must be a subclass of torch.nn.Module, '
                f'got {found!r}'
            )
        options = {key: _option(value) for key, value in options.items()}
        try:
            self.node = found(**options)
        except TypeError as error:
            raise TypeError(
                f'ForeignNode: {self.name} raised an error with the options {sorted(options)}: '
                f'{error}. It takes {inspect.signature(found.__init__)}'
            ) from None
        self.protocol = _protocol(self.node) if protocol == 'auto' else protocol
        if self.protocol not in PROTOCOLS:
            raise TypeError(
                f"ForeignNode.protocol must be 'auto' or one of {sorted(PROTOCOLS)}, "
                f'got {protocol!r}'
            )
        self._clean, self._found = _values(self.node), []
        self.domain = None
        self.domain = self._domain(domain)
        self.domain_may_change = domain == 'measure' and any(True for _ in self.parameters())

    def _domain(self, domain: str | Mapping) -> SpikeDomain | None:
        if domain == 'measure':
            return measure_domain(self)
        if isinstance(domain, Mapping):
            return SpikeDomain(**domain)
        if domain not in DOMAINS:
            raise TypeError(
                f"ForeignNode.domain must be 'measure', one of {sorted(DOMAINS)} or "
                f'dict(low, high, unit), got {domain!r}'
            )
        return DOMAINS[domain]

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run the neuron over T time steps.

        Membrane potentials are float32 (float64 for float64 input), also under autocast.

        Args:
            x: input current (T, *).
            state: the state after the previous step, a tensor or nested tuples of tensors; None
                (default) starts at rest.

        Returns:
            Spikes (T, *), and the state after the last step.

        Raises:
            ValueError: the output of the neuron has another shape than its input.
        """
        with torch.autocast(x.device.type, enabled=False):
            spikes, state = self._steps(x.to(working_dtype(x.dtype)), state)
        return spikes.to(x.dtype), state

    def _steps(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        steps = PROTOCOLS[self.protocol](self.node, self._clean, self._found)
        spikes = []
        for x_t in x:
            spike, state = steps(x_t, state)
            if spike.shape != x_t.shape:
                raise ValueError(
                    f'ForeignNode: {self.name} returned shape {tuple(spike.shape)} for an input '
                    f'of shape {tuple(x_t.shape)}; only element-wise neurons are supported'
                )
            spikes.append(spike)
        return torch.stack(spikes), state

    def extra_repr(self) -> str:
        """Return the class and the protocol for ``repr``."""
        return f'cls={self.name}, protocol={self.protocol}, domain={self.domain}'


class _Arguments:
    """Calls a neuron of the protocol ``spikes, *states = node(x, *states)``."""

    def __init__(self, node: nn.Module, clean: Mapping, found: list):
        self.node, self.clean = node, clean
        parameters = list(inspect.signature(node.forward).parameters)[1:]
        self.names = [name for name in parameters if name != 'output']

    def __call__(
        self, x: Tensor, states: Sequence[Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        _restore(
            self.node, self.clean
        )  # snnTorch keeps a copy of its states, which must not be used instead of the argument
        # the initial states have the shape of x, as snnTorch creates them
        states = [torch.zeros_like(x) for _ in self.names] if states is None else states
        out = self.node(x, *states)
        _restore(self.node, self.clean)
        if not isinstance(out, tuple):
            raise ValueError(
                f'ForeignNode: {type(self.node).__name__} returned no state; set init_hidden=False'
            )
        return out[0], tuple(out[-len(states) :])


class _Returned:
    """Calls a neuron of the protocol ``spikes, state = node(x, state)``; named tuples are converted
    to plain tuples."""

    def __init__(self, node: nn.Module, clean: Mapping, found: list):
        self.node, self.kind = node, None

    def __call__(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        if self.kind is None and state is not None:
            with torch.no_grad():  # one step from rest shows the type and nesting of the state
                self.kind = self.node(x, None)[1]
        spikes, new = self.node(x, _like(self.kind, state))
        self.kind = new
        return spikes, _plain(new)


class _Hidden:
    """Calls a neuron of the protocol ``spikes = node(x)``; the tensors that it stores in attributes
    are the state, and ``found`` collects their places."""

    def __init__(self, node: nn.Module, clean: Mapping, found: list):
        self.node, self.clean, self.found = node, clean, found

    def __call__(self, x: Tensor, state: Sequence | None) -> tuple[Tensor, tuple]:
        if state is not None and not self.found:
            with (
                torch.no_grad()
            ):  # a state of another process: one step from rest shows which attributes hold it
                self(x, None)
        _restore(self.node, self.clean)
        reset = getattr(self.node, 'reset', None) or getattr(self.node, 'n_reset', None)
        if reset is not None:
            reset()
        if state is not None:
            _restore(self.node, dict(zip(self.found, state)))
        before = _values(self.node)
        spikes = self.node(x)
        after = _values(self.node)
        self.found += [
            key
            for key in sorted(after)
            if after[key] is not before.get(key) and key not in self.found
        ]
        _restore(self.node, self.clean)
        return spikes, tuple(after[key] for key in self.found)


PROTOCOLS = dict(arguments=_Arguments, returned=_Returned, hidden=_Hidden)


def locate(name: str) -> Any:
    """Return the object with a dotted name; its library is imported.

    Args:
        name: the dotted name, for example ``'snntorch.Leaky'``.

    Raises:
        ImportError: the library does not exist, or its import fails.
        AttributeError: the library has no such name.
    """
    library, _, rest = name.partition('.')
    if not rest:
        raise AttributeError(
            f'ForeignNode.cls={name!r} must be <library>.<class>, for example snntorch.Leaky'
        )
    try:
        found = import_module(library)
        if library in MODULES and '.' not in rest:
            found = import_module(MODULES[library])
    except ImportError as error:
        raise ImportError(
            f'ForeignNode: {name!r} needs the library {library!r}, which cannot be imported '
            f'({error}); install it, or use a neuron of mmbsa such as mmbsa.LIFNode'
        ) from error
    path = found.__name__
    for part in rest.split('.'):
        path = f'{path}.{part}'
        if not hasattr(found, part):
            try:
                found = import_module(path)
                continue
            except ImportError:
                raise AttributeError(
                    f'ForeignNode: {name!r} does not exist: {found.__name__} has no {part!r}'
                ) from None
        found = getattr(found, part)
    return found


def _option(value: Any) -> Any:
    """Call an option that names a function or a class, and return the result; return every other
    option unchanged."""
    if isinstance(value, Mapping) and isinstance(value.get('type'), str) and '.' in value['type']:
        options = {key: _option(part) for key, part in value.items() if key != 'type'}
        return locate(value['type'])(**options)
    return deepcopy(value)


def _protocol(node: nn.Module) -> str:
    if type(node).__module__.split('.')[0] == 'snntorch':
        return 'arguments'
    return 'returned' if 'state' in inspect.signature(node.forward).parameters else 'hidden'


def _like(kind: Any, state: Any) -> Any:
    """Convert a plain tuple to the (named) tuple type of ``kind``."""
    if state is None or kind is None or not isinstance(kind, tuple):
        return state
    parts = [_like(part, value) for part, value in zip(kind, state)]
    return type(kind)(*parts) if hasattr(kind, '_fields') else tuple(parts)


def _plain(state: Any) -> Any:
    return tuple(_plain(part) for part in state) if isinstance(state, tuple | list) else state


def _places(node: nn.Module) -> Iterator[tuple[str, dict, str]]:
    """Yield (key, dictionary, name) of the public attributes, buffers and SpikingJelly memories of
    a module and its submodules."""
    for prefix, module in node.named_modules():
        public = [name for name in vars(module) if not name.startswith('_')]
        stores = (
            (vars(module), public),
            *(
                (store, list(store))
                for store in (module._buffers, vars(module).get('_memories', {}))
            ),
        )
        for store, names in stores:
            yield from ((f'{prefix}:{name}', store, name) for name in names)


def _values(node: nn.Module) -> dict[str, Any]:
    """Return tensors and numbers by place; numbers are included because a membrane potential at
    rest is often a number."""
    return {
        key: store[name]
        for key, store, name in _places(node)
        if isinstance(store[name], Tensor | float | int | None)
        and not isinstance(store[name], bool)
    }


def _restore(node: nn.Module, values: Mapping[str, Any]) -> None:
    for key, store, name in list(_places(node)):
        if key in values:
            store[name] = values[key]
