"""Report of counted operations as data: rows, totals, components, and ops without a rule."""

import csv
import io
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mmbsa.energy.counter import OpCounter, batch_of, refuse_compiled
from mmbsa.energy.counts import NAMES, Counts, Row
from mmbsa.energy.scope import COMPONENTS
from mmbsa.spiking import SpikeDomain

#: definitions of the terms of a report; every written report includes them.
DEFINITIONS = {
    'rate': 'share of non-zero elements at the input of the layer, over all samples and steps',
    'mean_count': 'mean |k| of its elements; above 1 only for counts',
    'ac': 'accumulates by counts: one per spike of either sign that reaches an output, k for '
    'a count k; the first '
    'contribution to an output is one too; borders are exact',
    'ac_events': 'the same with a count as one accumulate',
    'mac': 'dense multiply-adds of real-valued inputs, padded taps included; T equal steps '
    'are computed once',
    'mac_repeated': 'the same if each of T equal steps is computed',
    'norms': 'folded into the layer before them: 0; unfolded they cost norm_macs',
    'bias': 'bias_adds, beside the total',
    'neurons': 'updates, leaks, thresholds, resets and membrane words, beside the compute total',
    'weights': 'words read under four policies: once per event, once per image, once per '
    'step, per dense multiply-add',
    'rep_conv': 'form of the RepConv chains (SDT-V2, V3): as they run, or each merged into the one '
    'dense convolution that a chip would hold',
    'twice': 'modules that run several times have one row with the sum',
}


@dataclass
class Report:
    """Operation counts of one or more forwards.

    Attributes:
        rows: rows in the order in which the layers ran first.
        images: number of counted samples; all counts are sums over them.
        steps: number of time steps T; 1 for networks without neurons.
        levels: largest count D of any neuron; 0 without neurons.
        unknown: op -> (calls, written elements) of ops without a rule.
        inside: neuron class -> op -> calls, of ops inside neurons; the rule of neurons replaces
            their counts.
        violations: messages about spikes outside of the declared domain of their neuron; checked
            only with ``audit=True``.
        options: options of the count.
        model: class name of the model.
    """

    rows: list[Row]
    images: int
    steps: int = 1
    levels: int = 0
    unknown: dict[str, tuple[int, int]] = field(default_factory=dict)
    inside: dict[str, dict[str, int]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    model: str = ''

    def counted(self) -> list[Row]:
        """Return the rows of inference, without gradients.

        Raises:
            ValueError: nothing was counted.
        """
        if not self.rows or not self.images:
            raise ValueError('energy: no operation was counted; the model never ran')
        return [row for row in self.rows if row.kind != 'backward']

    @property
    def total(self) -> Counts:
        """Return the sum over all rows."""
        return add_up(self.counted())

    def by(self, key: str) -> dict[str, Counts]:
        """Return sums per component (``key='component'``) or per kind (``key='kind'``)."""
        groups: dict[str, list[Row]] = {}
        for row in self.counted():
            groups.setdefault(getattr(row, key), []).append(row)
        order = list(COMPONENTS) if key == 'component' else list(groups)
        return {name: add_up(groups[name]) for name in order if name in groups}

    @property
    def rate(self) -> float | None:
        """Mean firing rate of all spiking neurons, weighted by their size; None without neurons."""
        rows = [
            row
            for row in self.counted()
            if row.kind == 'neuron' and row.detail.get('domain') != 'real'
        ]
        size = sum(row.counts.updates for row in rows)
        return sum(row.counts.spikes for row in rows) / size if size else None

    @property
    def parameters_once(self) -> int:
        """Weight words of one image, if each is read once."""
        return self.total.words_once // self.images

    def __add__(self, other: 'Report') -> 'Report':
        """Return the report of both batches together."""
        rows = {row.key: _copied(row) for row in self.rows}
        for row in other.rows:
            if row.key in rows:
                rows[row.key].counts += row.counts
                _merge_detail(rows[row.key].detail, row.detail)
            else:
                rows[row.key] = _copied(row)
        unknown = dict(self.unknown)
        for name, (calls, elements) in other.unknown.items():
            before = unknown.get(name, (0, 0))
            unknown[name] = (before[0] + calls, before[1] + elements)
        return Report(
            list(rows.values()),
            self.images + other.images,
            max(self.steps, other.steps),
            max(self.levels, other.levels),
            unknown,
            {**other.inside, **self.inside},
            self.violations + other.violations,
            self.options,
            self.model,
        )

    def as_dict(self) -> dict:
        """Return a dict for JSON with definitions; counts are sums over ``images``."""
        rows = []
        for row in self.counted():
            rows.append(
                dict(
                    name=row.name,
                    module=row.module,
                    op=row.op,
                    index=row.index,
                    kind=row.kind,
                    component=row.component,
                    input=row.input,
                    operands=[list(x) for x in row.operands],
                    steps=row.steps,
                    levels=row.levels,
                    rate=rate_of(row.counts),
                    mean_count=mean_count(row.counts),
                    counts=row.counts.as_dict(zeros=False),
                    detail={key: value for key, value in row.detail.items()},
                )
            )
        return dict(
            model=self.model,
            images=self.images,
            steps=self.steps,
            levels=self.levels,
            rate=self.rate,
            options=self.options,
            definitions=DEFINITIONS,
            total=self.total.as_dict(),
            by_component={
                name: counts.as_dict(zeros=False) for name, counts in self.by('component').items()
            },
            rows=rows,
            without_a_rule={
                name: dict(calls=calls, elements=elements)
                for name, (calls, elements) in self.unknown.items()
            },
            inside_neurons={name: dict(ops) for name, ops in self.inside.items()},
            violations=self.violations,
        )

    @classmethod
    def from_dict(cls, data: dict) -> 'Report':
        """Return the report from the dict of :meth:`as_dict`.

        Raises:
            ValueError: a key is missing; the message names it.
        """
        try:
            rows = [
                Row(
                    row['module'],
                    row['op'],
                    row['index'],
                    row['kind'],
                    row['component'],
                    tuple(tuple(x) for x in row['operands']),
                    row['steps'],
                    row['levels'],
                    Counts(**row['counts']),
                    dict(row['detail']),
                )
                for row in data['rows']
            ]
            return cls(
                rows,
                data['images'],
                data['steps'],
                data['levels'],
                {name: (x['calls'], x['elements']) for name, x in data['without_a_rule'].items()},
                data['inside_neurons'],
                data['violations'],
                data['options'],
                data['model'],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f'energy: the data is not a report: {error!r}; expected the output of '
                'Report.as_dict'
            ) from error

    def json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(self.as_dict(), indent=1)

    def csv(self) -> str:
        """Return the report as CSV text: one line per row, integers over all images."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator='\n')
        writer.writerow(
            [
                'name',
                'op',
                'kind',
                'component',
                'input',
                'steps',
                'levels',
                'rate',
                'mean_count',
                *NAMES,
            ]
        )
        for row in self.counted():
            figures = row.counts.as_dict()
            writer.writerow(
                [
                    row.name,
                    row.op,
                    row.kind,
                    row.component,
                    row.input,
                    row.steps,
                    row.levels,
                    rate_of(row.counts),
                    mean_count(row.counts),
                    *figures.values(),
                ]
            )
        return out.getvalue()


def rate_of(counts: Counts) -> float | None:
    """Return the share of non-zero elements of a layer's input."""
    return counts.in_events / counts.in_values if counts.in_values else None


def mean_count(counts: Counts) -> float | None:
    """Return the mean |k| of a layer's input; for real values, the share of non-zero values."""
    return counts.in_counts / counts.in_values if counts.in_values else None


def add_up(rows: list[Row]) -> Counts:
    """Return the sum of rows."""
    total = Counts()
    for row in rows:
        total += row.counts
    return total


def _copied(row: Row) -> Row:
    counts = Counts()
    counts += row.counts
    return Row(
        row.module,
        row.op,
        row.index,
        row.kind,
        row.component,
        row.operands,
        row.steps,
        row.levels,
        counts,
        json.loads(json.dumps(row.detail)),
    )


def _merge_detail(into: dict, other: dict) -> None:
    for key, value in other.items():
        if isinstance(value, dict):
            _merge_detail(into.setdefault(key, {}), value)
        elif isinstance(value, bool | str) or key not in into or key == 'neurons':
            into[key] = value
        else:
            into[key] = into[key] + value  # figures, and lists of g


def report_of(counter: OpCounter, images: int) -> Report:
    """Return the report of a counter for ``images`` samples."""
    rows = list(counter.rows.values())
    neurons = [row for row in rows if row.kind == 'neuron']
    steps = max(
        (
            row.counts.updates // max(row.detail['neurons'], 1) // max(row.counts.calls, 1)
            for row in neurons
        ),
        default=1,
    )
    levels = max((tag_levels(row.detail['domain']) for row in neurons), default=0)
    options = dict(
        attention_order=counter.attention_order,
        fixed_point_bits=counter.fixed_point_bits,
        strict=counter.strict,
        rep_conv=rep_convs(counter.model),
    )
    return Report(
        rows,
        images,
        steps,
        levels,
        {name: (entry[0], entry[1]) for name, entry in counter.unknown.items()},
        {name: dict(ops) for name, ops in counter.inside.items()},
        list(counter.violations),
        options,
        type(counter.model).__name__,
    )


def rep_convs(model: nn.Module) -> dict[str, int]:
    """Return how many RepConv units of a model are ``chains`` and how many are ``merged``.

    A chain runs its convolutions one after another; a merged unit is one convolution.
    """
    forms: list[Any] = [getattr(module, 'is_merged', None) for module in model.modules()]
    return dict(chains=forms.count(False), merged=forms.count(True))


def with_merged_convolutions(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode in which every RepConv chain is one convolution.

    A chain is a module whose ``is_merged`` is False; its ``fuse(True)`` merges it. A model without
    a chain is returned itself.
    """
    if not rep_convs(model)['chains']:
        return model
    model = deepcopy(model).eval().requires_grad_(False)
    chains: list[Any] = [m for m in model.modules() if getattr(m, 'is_merged', None) is False]
    for chain in chains:
        chain.fuse(True)
    return model


def tag_levels(domain: str) -> int:
    """Return the largest count of a domain printed as ``{low..high} x unit``; 0 for real values."""
    if not domain.startswith('{'):
        return 0
    low, high = domain[1 : domain.index('}')].split('..')
    return max(-int(low), int(high))


def count_operations(
    model: nn.Module,
    *inputs: Any,
    images: int | None = None,
    domain: SpikeDomain | None | Sequence[SpikeDomain | None] = None,
    steps: int = 0,
    bits: int | None = None,
    strict: bool = False,
    audit: bool = False,
    attention_order: str = 'taken',
    both_orders: bool = False,
    fixed_point_bits: int | None = None,
    merge: bool = False,
    **kwargs: Any,
) -> Report:
    """Count the operations of ``model(*inputs, **kwargs)`` in evaluation mode, without gradients.

    Any torch model is supported. Neurons of this package, of SpikingJelly, snnTorch and norse are
    counted by the rule of neurons.

    Args:
        model: the model; its training mode is restored after the count.
        inputs: positional inputs of its forward.
        kwargs: keyword inputs of its forward.
        images: number of samples in the inputs; None (default) uses the leading size of the first
            tensor.
        domain: spike domain of the inputs, if they are spikes, or one domain per input; None
            (default) treats them as real numbers, whatever their values.
        steps: number of time steps T, if the inputs hold steps of spikes; 0 (default) otherwise.
        bits: bits of the inputs, if they are whole numbers of ``domain`` that are processed bit by
            bit; None by default.
        strict, audit, attention_order, both_orders, fixed_point_bits: arguments of
            :class:`OpCounter`.
        merge: whether to count a copy in which every RepConv chain is one convolution with folded
            norms, as on neuromorphic hardware; False by default.

    Returns:
        Sums over the images.

    Raises:
        ValueError: the model was compiled, ``images`` is below 1, or the number of domains differs
            from the number of inputs.
        UnknownOpError: ``strict`` is set and an op has no rule.
    """
    images = batch_of([*inputs, kwargs]) if images is None else images
    if images < 1:
        raise ValueError(f'count_operations: images must be at least 1, got {images}')
    domains = (
        list(domain) + [None] if isinstance(domain, Sequence) else [domain] * (len(inputs) + 1)
    )
    if len(domains) != len(inputs) + 1:
        raise ValueError(
            f'count_operations: {len(domains) - 1} domains were given for {len(inputs)} inputs'
        )
    if merge:
        refuse_compiled(model)
        model = with_merged_convolutions(model)
    counter = OpCounter(
        model, images, strict, audit, attention_order, both_orders, fixed_point_bits
    )
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), counter:
            for x, held in zip([*inputs, kwargs], domains):
                counter.mark(x, held, steps, bits)
            model(*inputs, **kwargs)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return report_of(counter, images)
