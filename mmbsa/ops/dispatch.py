"""Which implementation of an op runs: a table per op, in order of preference, judged per machine
and per call.

``impl='auto'`` takes the first implementation that can do the job. A name given explicitly is never
replaced silently: it runs, or an error says why it cannot. The environment variable
``MMBSA_OPS_IMPL`` names the implementation that ``auto`` takes in every op that has one of that
name; it never overrides an explicit request.

The choice is made inside an op's kernel, at every call: a graph that was exported holds ``'auto'``
and runs on machines that lack the implementations of the one that exported it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

ENV = 'MMBSA_OPS_IMPL'


def _no(*args) -> None:
    return None


def _no_backward(*args):
    raise RuntimeError('this implementation has no backward')


@dataclass(frozen=True)
class Implementation:
    """One way to compute an op.

    Args:
        name: What ``impl=`` calls it.
        forward: The op's forward; its signature is the op's own affair.
        backward: The op's backward; left out where the op has none.
        missing: () -> why this machine cannot run it, or None.
        refuses: (the op's tensors and options) -> why it cannot take this call, or None.
        slower: (the same) -> whether another implementation is known to be faster; ``auto`` then
            looks for that one.
    """

    name: str
    forward: Callable
    backward: Callable = _no_backward
    missing: Callable[[], str | None] = _no
    refuses: Callable[..., str | None] = _no
    slower: Callable[..., bool | None] = _no


_TABLE: dict[str, dict[str, Implementation]] = {}


def register(op: str, implementation: Implementation) -> None:
    """Append an implementation to an op's table; earlier ones are preferred by ``auto``."""
    table = _TABLE.setdefault(op, {})
    if implementation.name in table or implementation.name == 'auto':
        raise ValueError(f'{op}: the implementation name {implementation.name!r} is taken')
    table[implementation.name] = implementation


def implementations(op: str) -> list[str]:
    """Names of the implementations of ``op`` that this machine can run, the preferred one first.

    Raises:
        ValueError: no such op.
    """
    return [name for name, entry in _entries(op).items() if entry.missing() is None]


def reasons() -> dict[str, dict[str, str | None]]:
    """Op -> name of every implementation, in order of preference -> why this machine cannot run it,
    or None."""
    return {
        op: {name: entry.missing() for name, entry in table.items()} for op, table in _TABLE.items()
    }


def choose(op: str, impl: str, *call) -> Implementation:
    """The table entry of the implementation that :func:`resolve` names."""
    return _TABLE[op][resolve(op, impl, *call)]


def get(op: str, name: str) -> Implementation:
    """The table entry of a name that :func:`resolve` returned."""
    return _TABLE[op][name]


def check_name(op: str, impl: str) -> None:
    """Raise a ValueError unless ``impl`` is ``'auto'`` or a name of the op's table."""
    entries = _entries(op)
    if impl != 'auto' and impl not in entries:
        raise ValueError(f'{op}: impl must be one of {["auto", *entries]}, got {impl!r}')


def resolve(op: str, impl: str, *call) -> str:
    """Choose the implementation of ``op`` for one call.

    Args:
        op: Name of the op.
        impl: ``'auto'`` or a name of the table.
        call: Handed to the entries' ``refuses``.

    Returns:
        A name of the table.

    Raises:
        ValueError: the name is in no table.
        RuntimeError: the named implementation cannot run here or cannot take this call; with the
            reason.
    """
    check_name(op, impl)
    entries = _entries(op)
    asked_by = 'impl'
    if impl == 'auto':
        wish = os.environ.get(ENV, '')
        if wish in entries:
            impl, asked_by = wish, ENV
        elif wish and wish != 'auto' and not any(wish in table for table in _TABLE.values()):
            raise ValueError(f'{ENV}={wish!r}: no op has an implementation of that name')
    if impl == 'auto':
        able = None
        for name, entry in entries.items():
            if entry.missing() is None and entry.refuses(*call) is None:
                if not entry.slower(*call):
                    return name
                able = able or name
        if able:
            return able
        reasons = {name: entry.missing() or entry.refuses(*call) for name, entry in entries.items()}
        raise RuntimeError(f'{op}: no implementation can take this call: {reasons}')
    reason = entries[impl].missing() or entries[impl].refuses(*call)
    if reason is not None:
        raise RuntimeError(f'{op}: {asked_by}={impl!r} cannot take this call: {reason}')
    return impl


def _entries(op: str) -> dict[str, Implementation]:
    if op not in _TABLE:
        raise ValueError(f'unknown op {op!r}; the ops are {sorted(_TABLE)}')
    return _TABLE[op]
