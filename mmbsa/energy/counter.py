"""Counter that applies one counting rule to every op of a forward."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmbsa.energy import rules
from mmbsa.energy.counts import Row
from mmbsa.energy.scope import Scope, components, root_component
from mmbsa.energy.tags import Tag, TagStore
from mmbsa.spiking import SpikeDomain

#: values of ``attention_order``: the order of an attention without a normaliser that is counted.
ORDERS = ('taken', 'quadratic', 'linear')


class UnknownOpError(RuntimeError):
    """Raised in strict mode for an op without a rule."""


class OpCounter(TorchDispatchMode):
    """Dispatch mode that counts every op by the rule of its name.

    The rule uses the arguments and results of the op, so all implementations of an op have the same
    counts. Ops inside neurons (:func:`mmbsa.energy.rules.is_neuron`) are not counted; the rule of
    neurons counts the neuron layer. A tag on the storage of a tensor states whether it holds
    spikes. The neuron sets the tag; it is never derived from values.

    Args:
        model: the model; its module names and parameters appear in the report.
        images: samples per forward, 1 by default; set it before every forward with another batch
            size.
        strict: whether an op without a rule raises; False (default) lists the op in the report.
        audit: whether every matrix product and convolution checks that its spikes are inside the
            domain of their tag; False by default.
        attention_order: order of q k^T v without a normaliser: ``'taken'`` (default) is the order
            with fewer dense multiply-adds, which the op uses too; or ``'quadratic'`` or
            ``'linear'``.
        both_orders: whether the detail of the row has the counts of both orders; False by default.
            The quadratic order allocates score maps.
        fixed_point_bits: if set, count shifts by fewer places than this number, and store g of
            every score row; this allocates score maps. None by default.

    Raises:
        ValueError: the model was compiled, so its ops are hidden, or ``attention_order`` is
            unknown.
        UnknownOpError: ``strict`` is set and an op has no rule.
    """

    def __init__(
        self,
        model: nn.Module,
        images: int = 1,
        strict: bool = False,
        audit: bool = False,
        attention_order: str = 'taken',
        both_orders: bool = False,
        fixed_point_bits: int | None = None,
    ):
        super().__init__()
        refuse_compiled(model)
        if attention_order not in ORDERS:
            raise ValueError(
                f'attention_order must be one of {", ".join(ORDERS)}, got {attention_order!r}'
            )
        self.model, self.images, self.strict, self.audit = model, images, strict, audit
        self.attention_order, self.both_orders = attention_order, both_orders
        self.fixed_point_bits = fixed_point_bits
        self.tags = TagStore()
        self.rows: dict[tuple, Row] = {}
        #: op -> [calls, written elements] of ops without a rule.
        self.unknown: dict[str, list[int]] = {}
        #: neuron class -> op -> calls, of ops inside neurons.
        self.inside: dict[str, Counter] = {}
        #: neuron -> its domain, whether its membrane decays, and whether one step keeps no state.
        self.neurons: dict[nn.Module, tuple[SpikeDomain | None, bool, bool]] = {}
        #: messages about tensors whose values are outside of the domain of their tag.
        self.violations: list[str] = []
        self._places = {
            module: (*place, rules.is_neuron(module)) for module, place in components(model).items()
        }
        self._stack: list[Scope] = []
        self._neuron: nn.Module | None = None
        self._pending: tuple | None = None
        self._original: Any = None
        self._depth = 0
        self._plans: dict[Any, tuple] = {}
        self._first_layer: str | None = None

    def __enter__(self):
        """Tag weights, and record the calls of modules.

        torch enters the mode again for composite ops.
        """
        self._depth += 1
        if self._depth > 1:
            return super().__enter__()
        self.tags.put_weights(
            x
            for module in self._places
            for held in (module._parameters, module._buffers)
            for x in held.values()
            if x is not None
        )
        self._stack, self._neuron = [Scope(self.model, '', root_component(self.model))], None
        self._original, follow = nn.Module.__call__, self._follow
        # calls are wrapped as in torch.fx: hooks on all modules would take ten times as long
        nn.Module.__call__ = lambda module, *args, **kwargs: follow(module, args, kwargs)
        return super().__enter__()

    def __exit__(self, *exc):
        self._depth -= 1
        if self._depth:
            return super().__exit__(*exc)
        nn.Module.__call__ = self._original
        result = super().__exit__(*exc)
        if self._pending is not None and not any(exc):
            self._count_neuron()
        self._pending = None
        return result

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Switch off torch's wrapper against compilation, a third of the time of an empty mode.

        Compiled models raise before the mode starts.
        """
        return False

    @property
    def current(self) -> Scope:
        """Return the innermost module that runs now."""
        return self._stack[-1]

    def where(self) -> str:
        """Return the name of this module as text, for the origin of tensors."""
        return f' in {self.current.name}' if self.current.name else ''

    def mark(
        self,
        x: Any,
        domain: SpikeDomain | None = None,
        steps: int = 0,
        bits: int | None = None,
        origin: str = 'the input',
    ) -> None:
        """Declare the content of tensors made outside of the model, for example of its inputs.

        Args:
            x: a tensor, or a nested list, tuple or dict of tensors.
            domain: spike domain of the values; None (default) for real values.
            steps: number of time steps T that the tensors hold; 0 (default) if unknown.
            bits: bits of whole numbers that are processed bit by bit; None by default.
            origin: name of the source, for the audit.
        """
        for leaf in tree_leaves(x):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                self.tags.put(leaf, Tag(domain, origin, steps=steps, bits=bits))

    def row(self, op: str, kind: str, operands: tuple, numbered: bool) -> Row:
        """Return the row of an op that runs now.

        Args:
            op: name of the op, or class of the neuron.
            kind: kind of the row, see :class:`mmbsa.energy.counts.Row`.
            operands: (role, kind, domain, origin) of every operand.
            numbered: whether each call within one call of the module has its own row.
        """
        scope = self.current
        calls = scope.calls.get((op, kind), 0)
        scope.calls[op, kind] = calls + 1
        index = calls if numbered else 0
        key = (scope.name, op, index, kind)
        found = self.rows.get(key)
        if found is None:
            component = scope.component
            if kind in ('conv', 'linear') and self._first_layer is None:
                self._first_layer = scope.name
                component = 'stem'
            found = self.rows[key] = Row(scope.name, op, index, kind, component, operands)
        elif found.operands != operands:
            found.operands = _merged(found.operands, operands)
        return found

    def _follow(self, module: nn.Module, args: tuple, kwargs: dict) -> Any:
        """Call a module and record that it runs."""
        if self._neuron is not None:
            return self._original(module, *args, **kwargs)
        place = self._places.get(module)
        if place is None:  # created during the forward, or not part of the model
            name = f'{self.current.name}({type(module).__name__})'
            place = (name, self.current.component, rules.is_neuron(module))
        name, component, neuron = place
        scope = Scope(module, name, component)
        stack = self._stack
        stack.append(scope)
        if neuron:
            self._neuron = module
        try:
            out = self._original(module, *args, **kwargs)
        finally:
            self._neuron = None
            stack.pop()
        if neuron:
            spikes, current = (
                _first_tensor(out),
                _first_tensor(args[0] if args and isinstance(args[0], Tensor) else [args, kwargs]),
            )
            if spikes is not None and current is not None:
                self._pending = (scope, current, spikes)
        return out

    def _count_neuron(self) -> None:
        """Count the neuron that ran last.

        It runs inside a dispatch, so the counter does not count the sums that this method computes.
        """
        assert self._pending is not None
        scope, x, spikes = self._pending
        self._pending = None
        self._stack.append(scope)
        self._neuron = scope.module  # a node without a declared domain runs once to measure it
        try:
            rules.neuron_module(self, scope.module, x, spikes)
        finally:
            self._neuron = None
            self._stack.pop()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an op and apply its rule."""
        kwargs = kwargs or {}
        if self._pending is not None:
            self._count_neuron()
        plan = self._plans.get(func)
        if plan is None:
            plan = self._plans[func] = self._plan(func)
        rule, name, parameters, composite, view = plan
        if view and rule is None:
            return func(*args, **kwargs)
        if rule is None and composite and self._neuron is None:
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        if self._neuron is not None:
            inside = self.inside.setdefault(type(self._neuron).__name__, Counter())
            inside[name] += 1
        elif rule is not None:
            bound = dict(zip(parameters, args))
            bound.update(kwargs)
            call = rules.Call(self, name, bound, out)
            if self.audit and rule.__module__.endswith(('convolution', 'matmul', 'attention')):
                self._check(call)
            rule(call)
        else:
            self._unknown(name, out)
        return out

    def _plan(self, func) -> tuple:
        schema = func._schema
        name = schema.name
        composite = func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)
        return (
            rules.find(name),
            name,
            tuple(argument.name for argument in schema.arguments),
            composite,
            func.is_view,
        )

    def _unknown(self, name: str, out: Any) -> None:
        written = sum(x.numel() for x in tree_leaves(out) if isinstance(x, Tensor))
        if self.strict:
            raise UnknownOpError(
                f'{name} has no rule (called{self.where() or " outside of all modules"}); add '
                'one with '
                f"mmbsa.energy.rule('{name}'), or count without strict to have it listed"
            )
        entry = self.unknown.setdefault(name, [0, 0])
        entry[0] += 1
        entry[1] += written
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self.tags.put(x, Tag(origin=f'{name} (no rule)'))

    def _check(self, call) -> None:
        for x in call.tensors():
            tag = self.tags.get(x)
            if (
                tag.domain is not None
                and tag.bits is None
                and x.is_floating_point()
                and not tag.domain.contains(x)
            ):
                self.violations.append(
                    f'{self.current.name or "model"}, {call.op}: {tag.origin} was declared '
                    f'{tag.domain}, '
                    f'but holds {x.min().item():g} .. {x.max().item():g}'
                )


def _first_tensor(tree: Any) -> Tensor | None:
    if isinstance(tree, Tensor):
        return tree
    return next((x for x in tree_leaves(tree) if isinstance(x, Tensor)), None)


def _merged(old: tuple, new: tuple) -> tuple:
    """Merge the operands of two calls of one op; different entries name both values."""
    if len(old) != len(new):
        return old
    return tuple(
        a
        if a == b
        else (
            a[0],
            *(
                x if x == y or y in x.split(' or ') else f'{x} or {y}'
                for x, y in zip(a[1:3], b[1:3])
            ),
            a[3],
        )
        for a, b in zip(old, new)
    )


def refuse_compiled(model: nn.Module) -> None:
    """Check that a dispatch mode can read the ops of a model.

    Args:
        model: the model to count.

    Raises:
        ValueError: the model was compiled with torch.compile, or is a TorchScript module.
        TypeError: ``model`` is not a ``torch.nn.Module``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'count_operations: expected a torch.nn.Module, got {type(model).__name__}')
    for name, module in model.named_modules():
        if hasattr(module, '_orig_mod') or getattr(module, '_compiled_call_impl', None) is not None:
            raise ValueError(
                f'count_operations: {name or "the model"} was compiled with torch.compile, '
                'which hides its ops; '
                'count the original model'
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f'count_operations: {name or "the model"} is a TorchScript module, which '
                'hides its modules; '
                'count the original model'
            )


def batch_of(inputs: Sequence[Any]) -> int:
    """Return the number of samples of a forward: the leading size of the first tensor, or 1."""
    first = next((x for x in tree_leaves(list(inputs)) if isinstance(x, Tensor) and x.dim()), None)
    return 1 if first is None else max(1, first.shape[0])
