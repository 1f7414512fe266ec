"""Run a whole network step by step with an explicit state."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mmbsa.spiking.neuron import Stateful

_ACTIVE: ContextVar['_Stream | None'] = ContextVar('mmbsa_stream', default=None)


class State(dict):
    """State of a network: module name -> tuple of the states after each call of the module in one
    step.

    A module that is called once per step has a tuple of one entry. A state is a tensor, a number,
    None, or a tuple of these. ``State`` is saved as a plain dict, so that
    ``torch.load(..., weights_only=True)`` reads it; :func:`stream` accepts that dict as well.
    """

    def map(self, function: Callable[[Tensor], Tensor]) -> 'State':
        """Return a new state with ``function`` applied to every tensor."""
        return State({name: _map(slots, function) for name, slots in self.items()})

    def to(self, *args, **kwargs) -> 'State':
        """Return a new state with every tensor moved or cast; the arguments are those of
        ``Tensor.to``."""
        return self.map(lambda x: x.to(*args, **kwargs))

    def detach(self) -> 'State':
        """Return a new state without gradient history, for truncated backpropagation through
        time."""
        return self.map(Tensor.detach)

    def clone(self) -> 'State':
        """Return a new state with a copy of every tensor."""
        return self.map(Tensor.clone)

    @property
    def nbytes(self) -> int:
        """Number of bytes of all tensors."""
        total = 0

        def add(x: Tensor) -> Tensor:
            nonlocal total
            total += x.numel() * x.element_size()
            return x

        self.map(add)
        return total

    def __deepcopy__(self, memo: dict) -> 'State':
        return self.clone()

    def __reduce__(self):
        # an OrderedDict is a class that torch.load accepts with weights_only=True
        return OrderedDict, (), None, None, iter(self.items())


def _map(state: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, tuple | list):
        return tuple(_map(part, function) for part in state)
    return state


class _Stream:
    """One call of a model inside :func:`stream`: passes states to modules and collects the new
    ones."""

    def __init__(self, model: nn.Module, state: Mapping[str, tuple]):
        self.names = dict((module, name) for name, module in model.named_modules())
        self.old = state
        self.new: dict[str, list] = {}

    def advance(self, module: 'Stateful', x: Tensor) -> Tensor:
        name = self.names.get(module)
        if name is None:
            raise ValueError(
                f'stream: {type(module).__name__} was called but is not a submodule of the model'
            )
        if module.no_stream:
            raise ValueError(
                f'stream: {name} ({type(module).__name__}) cannot run step by step: '
                f'{module.no_stream}'
            )
        done, slots = self.new.setdefault(name, []), self.old.get(name, ())
        out, state = module.run(x, slots[len(done)] if len(done) < len(slots) else None)
        done.append(state)
        return out

    def state(self) -> State:
        """Return the new state; modules that were not called keep their state."""
        return State({**self.old, **{name: tuple(slots) for name, slots in self.new.items()}})


def current_stream() -> _Stream | None:
    """Return the stream that is running, or None."""
    return _ACTIVE.get()


def stream(model: nn.Module, x: Any, state: Mapping[str, tuple] | None = None) -> tuple[Any, State]:
    """Run a model on the next step or steps of a sequence.

    Every :class:`mmbsa.spiking.Stateful` module continues from its own entry of ``state``. In
    evaluation mode, T calls with one step each give bit for bit the output of one call with T
    steps. In training mode they differ, because a norm computes its statistics from one step only.

    Args:
        model: any module; ``model(x)`` is called.
        x: the input of the model with one or more steps, for example event frames (B, 1, C, H, W)
            for backbones. An image (B, C, H, W) is one step of an encoder.
        state: the state after the previous step; None (default) or an empty dict starts at rest. It
            is not changed.

    Returns:
        The model's output and the new state. The state has one entry per stateful module, for any
        number of steps. Gradients flow through it; ``state.detach()`` cuts them.

    Raises:
        ValueError: a module cannot run step by step (the message gives the reason), the model is
            compiled, or the state is from another model.
    """
    if hasattr(model, '_orig_mod'):
        raise ValueError(
            'stream: the model was compiled with torch.compile; stream the original model'
        )
    state = {} if state is None else state
    active = _Stream(model, state)
    unknown = set(state) - set(active.names.values())
    if unknown:
        raise ValueError(
            'stream: the state is from another model; it has entries for '
            f'{", ".join(sorted(unknown)[:3])}'
        )
    for module, name in active.names.items():
        reason = getattr(module, 'no_stream', None)
        # a module of another library that keeps its state in attributes
        if reason and not hasattr(module, 'run'):
            raise ValueError(
                f'stream: {name} ({type(module).__name__}) cannot run step by step: {reason}'
            )
    token = _ACTIVE.set(active)
    try:
        out = model(x)
    finally:
        _ACTIVE.reset(token)
    return out, active.state()


def is_streaming() -> bool:
    """Return whether the code runs inside :func:`stream`."""
    return not torch.compiler.is_compiling() and _ACTIVE.get() is not None
