"""One rule per op name, and what a rule is handed."""
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mmbsa.energy import sums
from mmbsa.energy.counts import Counts
from mmbsa.energy.tags import Tag

if TYPE_CHECKING:
    from mmbsa.energy.counter import OpCounter

#: op name with its namespace -> rule. A rule reads arguments and results only, so all implementations count alike.
RULES: dict[str, Callable[['Call'], None]] = {}


def rule(*names: str) -> Callable:
    """Register a function from a :class:`Call` as the rule of ops, named as ``'aten::add'``.

    In-place forms (``add_``) and ``out=`` forms follow the rule of their base name unless they have one of their own.
    """
    def register(function: Callable[['Call'], None]) -> Callable[['Call'], None]:
        for name in names:
            assert name not in RULES, f'{name} has two rules'
            RULES[name] = function
        return function
    return register


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

    __slots__ = ('args', 'counter', 'op', 'result')

    def __init__(self, counter: 'OpCounter', op: str, args: dict[str, Any], result: Any):
        self.counter, self.op, self.args, self.result = counter, op, args, result

    @property
    def out(self) -> Tensor:
        """The first result."""
        return self.result if isinstance(self.result, Tensor) else self.result[0]

    def tensors(self) -> list[Tensor]:
        """All tensor arguments, those in lists included."""
        found = []
        for value in self.args.values():
            if isinstance(value, Tensor):
                found.append(value)
            elif isinstance(value, list | tuple):
                found += [x for x in value if isinstance(x, Tensor)]
        return found

    def tag(self, x: Tensor) -> Tag:
        """What is known of a tensor."""
        return self.counter.tags.get(x)

    def put(self, tag: Tag, x: Tensor | None = None) -> None:
        """Tag a result (the first by default)."""
        x = self.out if x is None else x
        self.counter.tags.put(x, tag)

    def put_real(self, why: str = '', x: Tensor | None = None, **known) -> None:
        """Tag a result as real-valued; equal steps, time and weights are handed on from the tensor arguments."""
        x = self.out if x is None else x
        origin = f'{self.op.split("::")[-1]}{" " + why if why else ""}' + self.counter.where()
        self.counter.tags.put(x, Tag(origin=origin, **{**self.inherited(x), **known}))

    def inherited(self, out: Tensor) -> dict:
        """What a result has from its arguments whatever its values: whether it is a weight, its steps, equal copies."""
        tags = [(self.tag(x), x) for x in self.tensors() if x.dim() or x.is_floating_point()]
        tags = [(tag, x) for tag, x in tags if x is not out] or tags
        if not tags:
            return {}
        if all(tag.weight for tag, _ in tags):
            return dict(weight=True)
        acting = [(tag, x) for tag, x in tags if not tag.weight]
        known = dict(steps=max(tag.steps for tag, _ in acting))
        tag, x = acting[0]
        if tag.copies > 1 and all(other.copies == tag.copies for other, _ in acting) and x.numel():
            known.update(copies=tag.copies, copy_numel=tag.copy_numel * out.numel() // x.numel())
        return known

    def weights_only(self) -> bool:
        """Whether every tensor argument is a weight: work that is done once for all inputs."""
        tensors = self.tensors()
        return bool(tensors) and all(self.tag(x).weight for x in tensors)

    def row(self, kind: str, *operands: tuple[str, Tensor], numbered: bool = True) -> tuple[Counts, dict]:
        """Figures and detail of the row of this call, to add to.

        Args:
            kind: of the row.
            operands: role and tensor of each operand; the first one that is no weight is the row's input.
            numbered: whether several calls within a module have a row each.
        """
        labels = tuple((role, tag.kind, str(tag.domain or ''), tag.origin)
                       for role, tag in ((role, self.tag(x)) for role, x in operands))
        acting = [self.tag(x) for _, x in operands if not self.tag(x).weight]
        row = self.counter.row(self.op, kind, labels, numbered)
        if acting:
            row.steps = max(row.steps, *(tag.steps for tag in acting)) if len(acting) > 1 else max(row.steps, acting[0].steps)
            row.levels = acting[0].domain.levels if acting[0].domain is not None else 0
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
