"""Neurons of other libraries (snnTorch, Norse, BrainCog, ...) under the spiking contract."""

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

#: short names of a library -> the module that its neurons and their options are looked up in.
MODULES = dict(
    norse='norse.torch',
    braincog='braincog.base.node.node',
    spikingjelly='spikingjelly.activation_based.neuron',
)
DOMAINS = dict(binary=BINARY, ternary=TERNARY, real=None)


@MODELS.register_module()
class ForeignNode(SpikingNeuron):
    """A step-by-step neuron of another library, with an explicit state.

    The library is imported when such a node is built. Its neuron is a submodule: parameters are
    trained and saved, gradients are those of the library. Three ways of keeping a state are known:

    * ``'returned'``: ``spikes, state = node(x_t, state)``; the state may be None (Norse).
    * ``'arguments'``: ``spikes, *states = node(x_t, *states)`` (snnTorch).
    * ``'hidden'``: ``spikes = node(x_t)``; tensors that a step leaves in attributes are the state
      (BrainCog, SpikingJelly's single steps). They are taken out after every step, so that nothing
      stays in the module.

    Args:
        cls: dotted name of the class: ``'snntorch.Leaky'``, ``'norse.torch.LIFBoxCell'``,
            ``'braincog.LIFNode'``, or the class itself.
        domain: ``'measure'``, ``'binary'``, ``'ternary'``, ``'real'``, or ``dict(low, high,
            unit)``.
        protocol: one of the three, or ``'auto'``: snnTorch is ``'arguments'``, a ``forward`` with
            an argument ``state`` is ``'returned'``, all others are ``'hidden'``.
        options: of the class. An option ``dict(type='snntorch.surrogate.fast_sigmoid', slope=25)``
            is called with its arguments; a list of numbers stays a list,
            ``dict(type='torch.tensor', data=...)`` gives a tensor.

    Raises:
        ImportError: the library is not installed.
        AttributeError: it has no such class or function.
        TypeError: an option that the class does not take, a class that is no module, or an unknown
            domain or protocol.
        ValueError: the neuron answers with another shape than its input's.
    """

    def __init__(
        self, cls: str | type, domain: str | Mapping = 'measure', protocol: str = 'auto', **options
    ):
        super().__init__()
        found = locate(cls) if isinstance(cls, str) else cls
        self.name = cls if isinstance(cls, str) else f'{cls.__module__}.{cls.__qualname__}'
        if not (inspect.isclass(found) and issubclass(found, nn.Module)):
            raise TypeError(
                f'ForeignNode.cls={self.name!r} must be a class of modules, got {found!r}'
            )
        options = {key: _option(value) for key, value in options.items()}
        try:
            self.node = found(**options)
        except TypeError as error:
            raise TypeError(
                f'ForeignNode: {self.name} refuses its options {sorted(options)}: {error}. '
                f'It takes {inspect.signature(found.__init__)}'
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
        """(T, *) input current, state after the last step -> (T, *) spikes, new state (a tensor or
        tuples).

        Membranes are float32 (float64 for float64 input), also under autocast.
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
                    f'ForeignNode: {self.name} answers {tuple(x_t.shape)} with '
                    f'{tuple(spike.shape)}; '
                    'only neurons that act on each value alone can be used'
                )
            spikes.append(spike)
        return torch.stack(spikes), state

    def extra_repr(self) -> str:
        """What runs and how."""
        return f'cls={self.name}, protocol={self.protocol}, domain={self.domain}'


class _Arguments:
    """``spikes, *states = node(x, *states)``."""

    def __init__(self, node: nn.Module, clean: Mapping, found: list):
        self.node, self.clean = node, clean
        parameters = list(inspect.signature(node.forward).parameters)[1:]
        self.names = [name for name in parameters if name != 'output']

    def __call__(
        self, x: Tensor, states: Sequence[Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        _restore(
            self.node, self.clean
        )  # it keeps a copy of its states, which must not answer in their place
        # every step starts from tensors of x's shape: what the library would make of its empty ones
        states = [torch.zeros_like(x) for _ in self.names] if states is None else states
        out = self.node(x, *states)
        _restore(self.node, self.clean)
        if not isinstance(out, tuple):
            raise ValueError(
                f'{type(self.node).__name__} returned no state: leave init_hidden=False'
            )
        return out[0], tuple(out[-len(states) :])


class _Returned:
    """``spikes, state = node(x, state)``; named tuples are plain tuples outside."""

    def __init__(self, node: nn.Module, clean: Mapping, found: list):
        self.node, self.kind = node, None

    def __call__(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        if self.kind is None and state is not None:
            with torch.no_grad():  # what a state is called and how it nests, from a step at rest
                self.kind = self.node(x, None)[1]
        spikes, new = self.node(x, _like(self.kind, state))
        self.kind = new
        return spikes, _plain(new)


class _Hidden:
    """``spikes = node(x)``, with tensors in attributes; ``found`` collects where they were seen."""

    def __init__(self, node: nn.Module, clean: Mapping, found: list):
        self.node, self.clean, self.found = node, clean, found

    def __call__(self, x: Tensor, state: Sequence | None) -> tuple[Tensor, tuple]:
        if state is not None and not self.found:
            with (
                torch.no_grad()
            ):  # a state from elsewhere: a step at rest tells which attributes it belongs to
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
    """What a dotted name stands for; its library is imported.

    Raises:
        ImportError: no such library, or it cannot be imported.
        AttributeError: the library has no such name.
    """
    library, _, rest = name.partition('.')
    if not rest:
        raise AttributeError(
            f'{name!r} names no class: expected <library>.<class>, for example snntorch.Leaky'
        )
    try:
        found = import_module(library)
        if library in MODULES and '.' not in rest:
            found = import_module(MODULES[library])
    except ImportError as error:
        raise ImportError(
            f'ForeignNode: {name!r} needs the library {library!r}, which cannot be imported '
            f'({error}); install it, or choose a neuron of ours such as mmbsa.LIFNode'
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
    """Options that name a function or a class are called; everything else stays."""
    if isinstance(value, Mapping) and isinstance(value.get('type'), str) and '.' in value['type']:
        options = {key: _option(part) for key, part in value.items() if key != 'type'}
        return locate(value['type'])(**options)
    return deepcopy(value)


def _protocol(node: nn.Module) -> str:
    if type(node).__module__.split('.')[0] == 'snntorch':
        return 'arguments'
    return 'returned' if 'state' in inspect.signature(node.forward).parameters else 'hidden'


def _like(kind: Any, state: Any) -> Any:
    """A plain tuple as the (named) tuple that it was."""
    if state is None or kind is None or not isinstance(kind, tuple):
        return state
    parts = [_like(part, value) for part, value in zip(kind, state)]
    return type(kind)(*parts) if hasattr(kind, '_fields') else tuple(parts)


def _plain(state: Any) -> Any:
    return tuple(_plain(part) for part in state) if isinstance(state, tuple | list) else state


def _places(node: nn.Module) -> Iterator[tuple[str, dict, str]]:
    """(key, dictionary, name) of the public attributes, buffers and SpikingJelly memories of a
    module and its parts."""
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
    """Tensors and numbers by place; numbers, because a membrane at rest is often one."""
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
