"""Registry of the counting rules, and the call that a rule receives."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mmbsa.energy import sums
from mmbsa.energy.counts import Counts
from mmbsa.energy.tags import Tag

if TYPE_CHECKING:
    from mmbsa.energy.counter import OpCounter

#: op name with its namespace -> rule. A rule reads arguments and results only, so all
#: implementations have the same counts.
RULES: dict[str, Callable[['Call'], None]] = {}


def rule(*names: str) -> Callable:
    """Return a decorator that registers a function of a :class:`Call` as the rule of these ops.

    In-place forms (``add_``) and ``out=`` forms use the rule of their base name unless they have
    their own rule.

    Args:
        names: op names with namespace, for example ``'aten::add'``.
    """

    def register(function: Callable[['Call'], None]) -> Callable[['Call'], None]:
        for name in names:
            assert name not in RULES, f'{name} has two rules'
            RULES[name] = function
        return function

    return register


def aten(names: str) -> tuple[str, ...]:
    """Return the words of ``names`` as op names in PyTorch's namespace."""
    return tuple(f'aten::{name}' for name in names.split())


def find(name: str) -> Callable[['Call'], None] | None:
    """Return the rule of an op, or None."""
    if name in RULES:
        return RULES[name]
    return RULES.get(name[:-1]) if name.endswith('_') and not name.endswith('__') else None


class Call:
    """One call of an op.

    Attributes:
        counter: the counter that received the call.
        op: name of the op with its namespace.
        args: argument name in the op's schema -> value; omitted arguments are absent.
        result: return value of the op.
    """

    __slots__ = ('_known', '_tensors', 'args', 'counter', 'op', 'result')

    def __init__(self, counter: 'OpCounter', op: str, args: dict[str, Any], result: Any):
        self.counter, self.op, self.args, self.result = counter, op, args, result
        self._known: dict[int, tuple[Tensor, Tag]] = {}
        self._tensors: list[Tensor] | None = None

    @property
    def out(self) -> Tensor:
        """The first result."""
        return self.result if isinstance(self.result, Tensor) else self.result[0]

    def tensors(self) -> list[Tensor]:
        """Return all tensor arguments, including those in lists."""
        if self._tensors is None:
            self._tensors = found = []
            for value in self.args.values():
                if isinstance(value, Tensor):
                    found.append(value)
                elif isinstance(value, list | tuple) and not (value and isinstance(value[0], int)):
                    found += [x for x in value if isinstance(x, Tensor)]
        return self._tensors

    def tag(self, x: Tensor) -> Tag:
        """Return the tag of a tensor."""
        known = self._known.get(id(x))
        if known is None:
            tag = self.counter.tags.get(x)
            self._known[id(x)] = known = (
                x,
                tag,
            )  # x is referenced: the id of a freed tensor could be used again
        return known[1]

    def put(self, tag: Tag, x: Tensor | None = None) -> None:
        """Tag a result, by default the first one.

        Args:
            tag: the tag.
            x: the result; None (default) for the first one.
        """
        x = self.out if x is None else x
        self._known.clear()
        self.counter.tags.put(x, tag)

    def put_real(
        self, why: str = '', x: Tensor | None = None, of: Sequence[Tensor] | None = None, **known
    ) -> None:
        """Tag a result as real-valued.

        Args:
            why: words added to the origin of the tag; empty by default.
            x: the result; None (default) for the first one.
            of: tensors from which equal steps, time and weights are inherited; None (default) for
                all tensor arguments.
            known: further fields of the tag.
        """
        x = self.out if x is None else x
        tag = self.inherited(x, self.tensors() if of is None else of)
        name, where = self.op.partition('::')[2], self.counter.where()
        tag.origin = f'{name} {why}{where}' if why else name + where
        for key, value in known.items():
            setattr(tag, key, value)
        self.put(tag, x)

    def inherited(self, out: Tensor, arguments: Sequence[Tensor]) -> Tag:
        """Return the part of a result's tag that does not depend on its values.

        These are: whether it is a weight, its steps, and equal copies.

        Args:
            out: the result.
            arguments: tensor arguments of the op.
        """
        first, steps = None, 0
        copies, get = 0, self.tag
        for x in arguments:
            tag = get(x)
            if tag.weight:
                continue
            if first is None:
                first, copies = (tag, x), tag.copies
            elif tag.copies != copies:
                copies = 1
            steps = max(steps, tag.steps)
        if first is None:
            return Tag(weight=len(arguments) > 0)
        tag, x = first
        if copies > 1 and x.numel():
            return Tag(
                steps=steps, copies=copies, copy_numel=tag.copy_numel * out.numel() // x.numel()
            )
        return Tag(steps=steps)

    def weights_only(self) -> bool:
        """Return whether every tensor argument is a weight, so that the work is done once."""
        tensors = self.tensors()
        return bool(tensors) and all(self.tag(x).weight for x in tensors)

    def row(
        self, kind: str, *operands: tuple[str, Tensor], numbered: bool = True
    ) -> tuple[Counts, dict]:
        """Return the counts and the detail of the row of this call, so that a rule can add to them.

        Args:
            kind: kind of the row.
            operands: (role, tensor) of each operand; the first one that is not a weight is the
                input of the row.
            numbered: whether each call within one call of the module has its own row; True by
                default.
        """
        tags = [self.tag(x) for _, x in operands]
        labels = tuple((role, *tag.label) for (role, _), tag in zip(operands, tags))
        row = self.counter.row(self.op, kind, labels, numbered)
        acting = None
        for tag in tags:
            if not tag.weight:
                acting = acting or tag
                if tag.steps > row.steps:
                    row.steps = tag.steps
        if acting is not None:
            row.levels = acting.domain.levels if acting.domain is not None else 0
        row.counts.calls += 1
        return row.counts, row.detail

    def total(self, x: Tensor, what: str) -> int:
        """Return the sum of a tensor's ``'events'``, ``'counts'`` or ``'bits'``.

        Args:
            x: the tensor.
            what: ``'events'``, ``'counts'`` or ``'bits'``.
        """
        return sums.total(x, self.tag(x), what)


def value_bits(tag: Tag, x: Tensor) -> int:
    """Return the bits of one stored value.

    Args:
        tag: tag of the tensor.
        x: the tensor.
    """
    if tag.bits is not None:
        return tag.bits
    return tag.domain.bits if tag.domain is not None else 8 * x.element_size()
