"""Choose the implementation of an op: one table per op, in order of preference, evaluated per
machine and per call.

``impl='auto'`` chooses the first implementation that supports the call. An implementation that is
given by name is never replaced: it runs, or an error gives the reason why it cannot. The
environment variable ``MMBSA_OPS_IMPL`` names the implementation that ``'auto'`` chooses in every op
that has one of that name; it never overrides a name given in the call.

The choice is made inside the kernel of an op, at every call. An exported graph holds ``'auto'``, so
it also runs on machines with other implementations.
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
    """One implementation of an op.

    Args:
        name: its name, a value of the argument ``impl``.
        forward: function of the op's forward; the op defines its signature.
        backward: function of the op's backward; by default it raises an error, for ops without a
            backward.
        missing: function without arguments that returns the reason why this machine cannot run the
            implementation, or None.
        refuses: function of the op's tensors and options that returns the reason why the
            implementation does not support the call, or None.
        slower: function of the same arguments that returns whether another implementation is known
            to be faster; ``'auto'`` then prefers that one.
    """

    name: str
    forward: Callable
    backward: Callable = _no_backward
    missing: Callable[[], str | None] = _no
    refuses: Callable[..., str | None] = _no
    slower: Callable[..., bool | None] = _no


_TABLE: dict[str, dict[str, Implementation]] = {}


def register(op: str, implementation: Implementation) -> None:
    """Add an implementation at the end of an op's table; ``'auto'`` prefers earlier ones.

    Raises:
        ValueError: the table already has an implementation of this name.
    """
    table = _TABLE.setdefault(op, {})
    if implementation.name in table or implementation.name == 'auto':
        raise ValueError(f'{op}: an implementation {implementation.name!r} is already registered')
    table[implementation.name] = implementation


def implementations(op: str) -> list[str]:
    """Return the names of the implementations of ``op`` that this machine can run, the preferred
    one first.

    Raises:
        ValueError: ``op`` is unknown.
    """
    return [name for name, entry in _entries(op).items() if entry.missing() is None]


def reasons() -> dict[str, dict[str, str | None]]:
    """Return why this machine cannot run an implementation, for all ops.

    Returns:
        A dict: op -> name of the implementation, in order of preference -> reason, or None if the
        machine can run it.
    """
    return {
        op: {name: entry.missing() for name, entry in table.items()} for op, table in _TABLE.items()
    }


def choose(op: str, impl: str, *call) -> Implementation:
    """Return the table entry of the implementation of ``op`` that :func:`resolve` chooses;
    arguments as there."""
    return _TABLE[op][resolve(op, impl, *call)]


def get(op: str, name: str) -> Implementation:
    """Return the table entry of ``op`` with a ``name`` that :func:`resolve` returned."""
    return _TABLE[op][name]


def check_name(op: str, impl: str) -> None:
    """Raise a ValueError if ``impl`` is neither ``'auto'`` nor a name in the op's table."""
    entries = _entries(op)
    if impl != 'auto' and impl not in entries:
        raise ValueError(f'{op}: impl must be one of {["auto", *entries]}, got {impl!r}')


def resolve(op: str, impl: str, *call) -> str:
    """Choose the implementation of ``op`` for one call.

    Args:
        op: name of the op.
        impl: ``'auto'`` or a name in the table.
        call: tensors and options of the call, the arguments of ``refuses`` and ``slower``.

    Returns:
        A name in the table.

    Raises:
        ValueError: no table has this name.
        RuntimeError: the named implementation cannot run on this machine or does not support this
            call; the message gives the reason.
    """
    entries = _entries(op)
    if impl not in entries:
        check_name(op, impl)
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
        raise RuntimeError(f'{op}: no implementation supports this call: {reasons}')
    reason = entries[impl].missing() or entries[impl].refuses(*call)
    if reason is not None:
        raise RuntimeError(f'{op}: {asked_by}={impl!r} does not support this call: {reason}')
    return impl


def _entries(op: str) -> dict[str, Implementation]:
    if op not in _TABLE:
        raise ValueError(f'unknown op {op!r}; the ops are {sorted(_TABLE)}')
    return _TABLE[op]
