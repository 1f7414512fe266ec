"""One rule per op name, and what a rule is handed."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mmbsa.energy import sums
from mmbsa.energy.counts import Counts
from mmbsa.energy.tags import Tag

if TYPE_CHECKING:
    from mmbsa.energy.counter import OpCounter

#: op name with its namespace -> rule. A rule reads arguments and results only, so all
#: implementations count alike.
RULES: dict[str, Callable[['Call'], None]] = {}


def rule(*names: str) -> Callable:
    """Register a function from a :class:`Call` as the rule of ops, named as ``'aten::add'``.

    In-place forms (``add_``) and ``out=`` forms follow the rule of their base name unless they
    have one of their own.
    """

    def register(function: Callable[['Call'], None]) -> Callable[['Call'], None]:
        for name in names:
            assert name not in RULES, f'{name} has two rules'
            RULES[name] = function
        return function

    return register


def aten(names: str) -> tuple[str, ...]:
    """Words -> names in PyTorch's namespace."""
    return tuple(f'aten::{name}' for name in names.split())


def find(name: str) -> Callable[['Call'], None] | None:
    """The rule of an op, or None."""
    if name in RULES:
        return RULES[name]
    return RULES.get(name[:-1]) if name.endswith('_') and not name.endswith('__') else None


class Call:
    """One call of an op.

    Attributes:
        counter: who counts.
        op: name with its namespace.
        args: argument by the name that the op's schema gives it; what was left out is not there.
        result: what the op returned.
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
        """All tensor arguments, those in lists included."""
        if self._tensors is None:
            self._tensors = found = []
            for value in self.args.values():
                if isinstance(value, Tensor):
                    found.append(value)
                elif isinstance(value, list | tuple) and not (value and isinstance(value[0], int)):
                    found += [x for x in value if isinstance(x, Tensor)]
        return self._tensors

    def tag(self, x: Tensor) -> Tag:
        """What is known of a tensor."""
        known = self._known.get(id(x))
        if known is None:
            tag = self.counter.tags.get(x)
            self._known[id(x)] = known = (
                x,
                tag,
            )  # x is held: the identity of a dead tensor would be used again
        return known[1]

    def put(self, tag: Tag, x: Tensor | None = None) -> None:
        """Tag a result (the first by default)."""
        x = self.out if x is None else x
        self._known.clear()
        self.counter.tags.put(x, tag)

    def put_real(
        self, why: str = '', x: Tensor | None = None, of: Sequence[Tensor] | None = None, **known
    ) -> None:
        """Tag a result as real-valued; equal steps, time and weights are handed on from ``of``, by
        default all tensor arguments.
        """
        x = self.out if x is None else x
        tag = self.inherited(x, self.tensors() if of is None else of)
        name, where = self.op.partition('::')[2], self.counter.where()
        tag.origin = f'{name} {why}{where}' if why else name + where
        for key, value in known.items():
            setattr(tag, key, value)
        self.put(tag, x)

    def inherited(self, out: Tensor, arguments: Sequence[Tensor]) -> Tag:
        """What a result has from its arguments whatever its values: whether it is a weight, its
        steps, equal copies.
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
        """Whether every tensor argument is a weight: work that is done once for all inputs."""
        tensors = self.tensors()
        return bool(tensors) and all(self.tag(x).weight for x in tensors)

    def row(
        self, kind: str, *operands: tuple[str, Tensor], numbered: bool = True
    ) -> tuple[Counts, dict]:
        """Figures and detail of the row of this call, to add to.

        Args:
            kind: of the row.
            operands: role and tensor of each operand; the first one that is no weight is the row's
                input.
            numbered: whether several calls within a module have a row each.
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
        """Sum of a tensor's events, counts or bits."""
        return sums.total(x, self.tag(x), what)


def value_bits(tag: Tag, x: Tensor) -> int:
    """Bits of one stored value."""
    if tag.bits is not None:
        return tag.bits
    return tag.domain.bits if tag.domain is not None else 8 * x.element_size()
