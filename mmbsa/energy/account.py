"""Energy from operation counts: compute and memory separately, per layer, component and image."""

from dataclasses import dataclass, field

from mmbsa.energy.costs import WEIGHT_POLICIES, CostTable, cost_table
from mmbsa.energy.counts import Counts, Row
from mmbsa.energy.report import Report, mean_count, rate_of
from mmbsa.energy.scope import COMPONENTS

#: names of the entries of an account, split into compute and memory traffic.
COMPUTE = ('mac', 'ac', 'shift', 'gate', 'other', 'neuron', 'norm', 'bias')
MEMORY = ('weights', 'state', 'activations')


#: kinds of rows that read activations, and kinds of rows that write activations in a network with
#: neurons or quantisers.
READERS, WRITERS = ('conv', 'linear', 'matmul', 'attention'), ('neuron', 'quantiser')


def posts(counts: Counts, cost: CostTable, writes: bool = False) -> dict[str, float]:
    """Return the energy in pJ of every entry of the account of one layer.

    Args:
        counts: operation counts of the layer.
        cost: unit costs.
        writes: whether the layer writes its results to memory; False by default.

    Returns:
        Name of the entry -> pJ for all counted images.
    """
    macs = counts.mac_repeated if cost.repeats_equal_steps else counts.mac
    adds = counts.ac_events if cost.by_events else counts.ac
    read = getattr(counts, WEIGHT_POLICIES[cost.weights]) * cost.weight_bits
    bits = 0
    if cost.activations == 'dense':
        bits = counts.in_bits + counts.out_bits * writes
    elif cost.activations == 'event':
        bits = counts.event_bits
    return dict(
        mac=macs * cost.mac,
        ac=adds * cost.ac,
        shift=counts.shifts * cost.shift,
        gate=counts.gates * cost.gate,
        other=counts.comparisons * cost.compare
        + counts.muls * cost.mul
        + counts.specials * cost.special,
        neuron=(
            counts.updates * cost.update
            + counts.leaks * cost.leak
            + counts.thresholds * cost.threshold
            + counts.resets * cost.reset
        ),
        norm=0.0 if cost.folds_norms else counts.norm_macs * cost.mac,
        bias=counts.bias_adds * cost.ac if cost.counts_bias else 0.0,
        weights=read * cost.weight,
        state=(counts.state_reads + counts.state_writes) * cost.state_bits * cost.state,
        activations=bits * cost.activation,
    )


@dataclass
class Energy:
    """Energy of a report under one cost table.

    Per-layer values are in pJ for all images together. The properties give mJ per image.

    Attributes:
        report: the operation counts.
        cost: the unit costs.
        rows: one account (entry -> pJ) per row of ``report.counted()``, in the same order.
    """

    report: Report
    cost: CostTable
    rows: list[tuple[Row, dict[str, float]]] = field(default_factory=list)

    def __post_init__(self):
        rows = self.report.counted()
        writers = WRITERS if any(row.kind in WRITERS for row in rows) else READERS
        self.rows = [
            (row, posts(_widths(row.counts, self.cost, row), self.cost, row.kind in writers))
            for row in rows
        ]

    def _sum(self, names: tuple[str, ...], rows=None) -> float:
        rows = self.rows if rows is None else rows
        return (
            sum(account[name] for _, account in rows for name in names) / self.report.images * 1e-9
        )

    @property
    def compute(self) -> float:
        """Energy of the computation, in mJ per image."""
        return self._sum(COMPUTE)

    @property
    def memory(self) -> float:
        """Energy of the memory traffic, in mJ per image."""
        return self._sum(MEMORY)

    @property
    def total(self) -> float:
        """Energy of computation and memory traffic, in mJ per image."""
        return self.compute + self.memory

    @property
    def stem_share(self) -> float:
        """Share of the compute energy that the stem needs, 0 to 1."""
        return self.parts().get('stem', (0.0, 0.0))[0] / self.compute if self.compute else 0.0

    def parts(self) -> dict[str, tuple[float, float]]:
        """Return component -> (compute, memory), in mJ per image."""
        found = {}
        for name in COMPONENTS:
            rows = [entry for entry in self.rows if entry[0].component == name]
            if rows:
                found[name] = (self._sum(COMPUTE, rows), self._sum(MEMORY, rows))
        return found

    def by_post(self) -> dict[str, float]:
        """Return entry of the account -> energy in mJ per image."""
        return {name: self._sum((name,)) for name in (*COMPUTE, *MEMORY)}

    def as_dict(self) -> dict:
        """Return a dict for JSON with all inputs of the formula and its results, per layer."""
        layers = [
            dict(
                name=row.name,
                component=row.component,
                input=row.input,
                rate=rate_of(row.counts),
                mean_count=mean_count(row.counts),
                picojoule={key: value for key, value in account.items() if value},
            )
            for row, account in self.rows
        ]
        return dict(
            cost=self.cost.as_dict(),
            pair=self.cost.pair,
            unit='mJ per image',
            compute=self.compute,
            memory=self.memory,
            total=self.total,
            stem_share=self.stem_share,
            by_post=self.by_post(),
            by_component={name: dict(compute=c, memory=m) for name, (c, m) in self.parts().items()},
            images=self.report.images,
            layers_unit='pJ, all images',
            layers=layers,
        )


def _widths(counts: Counts, cost: CostTable, row: Row) -> Counts:
    """Return the counts with the bit width of real activations from the cost table."""
    if not cost.real_bits or cost.activations == 'none':
        return counts
    changed = Counts()
    changed += counts
    real = row.input in ('real', 'sum of spikes') and row.kind != 'neuron'
    if real and counts.in_values:
        changed.in_bits = counts.in_values * cost.real_bits
        changed.event_bits = counts.in_events * cost.real_bits
    if row.kind != 'neuron' and counts.outputs:
        changed.out_bits = counts.outputs * cost.real_bits
    return changed


def energy(report: Report, cost: str | CostTable = 'field') -> Energy:
    """Compute the energy of a report.

    Args:
        report: operation counts, from :func:`count_operations`.
        cost: name of a preset, JSON file or table of unit costs; ``'field'`` by default.

    Returns:
        The energy per layer and in total.

    Raises:
        ValueError: nothing was counted, or the cost table does not exist.
    """
    return Energy(report, cost_table(cost))


def statements(result: Energy) -> list[str]:
    """Return the assumptions that every energy figure must name (energy.md 4.5), one per line."""
    report, cost = result.report, result.cost
    attention = sorted(
        {
            f'{row.detail["normalizer"]}'
            + (f', {row.detail["order"]} order' if 'order' in row.detail else '')
            for row in report.counted()
            if row.kind == 'attention' and 'normalizer' in row.detail
        }
    )
    lines = [
        f'T = {report.steps}, D = {report.levels}; counts k are '
        f'{"1 accumulate" if cost.by_events else "k accumulates"}',
        f'unit costs {cost.name}: {cost.pair}',
        'T equal steps of the stem are computed '
        + ('T times' if cost.repeats_equal_steps else 'once')
        + f'; the stem needs {100 * result.stem_share:.1f} % of the compute',
        'norms are '
        + ('folded' if cost.folds_norms else 'not folded')
        + ', biases are '
        + ('accumulates' if cost.counts_bias else 'not counted'),
        _rep_conv(report.options.get('rep_conv', {})),
        f'weights are read {cost.weights.replace("_", " ")}, activations: {cost.activations}; '
        f'membranes have {cost.state_bits} '
        'bits'
        if cost.has_memory
        else 'memory is not charged',
        f'{report.images} images; figures are for one',
    ]
    if attention:
        lines.append(f'attention: {"; ".join(attention)}')
    if report.unknown:
        lines.append(
            'without a rule: '
            + ', '.join(f'{name} ({calls} calls)' for name, (calls, _) in report.unknown.items())
        )
    return lines


def _rep_conv(forms: dict[str, int]) -> str:
    found = [
        f'{forms[form]} RepConv {text}'
        for form, text in (
            ('chains', 'chains are counted as they run, and not merged'),
            ('merged', 'chains are counted merged, as one convolution each'),
        )
        if forms.get(form)
    ]
    return '; '.join(found) or 'convolutions in a row are counted as they run'


def _si(value: float) -> str:
    for factor, letter in ((1e9, ' G'), (1e6, ' M'), (1e3, ' k')):
        if abs(value) >= factor:
            return f'{value / factor:.3f}{letter}'
    return f'{value:.0f}'


def markdown(result: Energy, layers: bool = True) -> str:
    """Return the energy as Markdown tables: totals, components, and layers.

    Args:
        result: the energy of a report.
        layers: whether the table of layers is included; True by default.
    """
    report, images = result.report, result.report.images
    lines = [
        f'# Energy of {report.model}',
        '',
        *(f'* {line}' for line in statements(result)),
        '',
        '| part | MAC | AC | AC by events | shifts | compute, mJ | memory, mJ |',
        '|---|---|---|---|---|---|---|',
    ]
    for name, counts in report.by('component').items():
        compute, memory = result.parts()[name]
        figures = (counts.mac, counts.ac, counts.ac_events, counts.shifts)
        lines.append(
            f'| {name} | '
            + ' | '.join(_si(x / images) for x in figures)
            + f' | {compute:.6f} | {memory:.6f} |'
        )
    total = report.total
    figures = (total.mac, total.ac, total.ac_events, total.shifts)
    lines.append(
        '| **total** | '
        + ' | '.join(_si(x / images) for x in figures)
        + f' | **{result.compute:.6f}** | **{result.memory:.6f}** |'
    )
    if layers:
        lines += [
            '',
            '| layer | part | input | rate | mean count | dense | MAC | AC | updates | '
            'compute, uJ | memory, uJ |',
            '|---|---|---|---|---|---|---|---|---|---|---|',
        ]
        for row, account in result.rows:
            counts, (rate, mean) = row.counts, (rate_of(row.counts), mean_count(row.counts))
            compute, memory = (
                sum(account[key] for key in keys) / images * 1e-6 for keys in (COMPUTE, MEMORY)
            )
            ratios = ' | '.join('-' if x is None else f'{x:.4f}' for x in (rate, mean))
            lines.append(
                f'| {row.name} | {row.component} | {row.input} | {ratios} | '
                + ' | '.join(
                    _si(x / images) for x in (counts.dense, counts.mac, counts.ac, counts.updates)
                )
                + f' | {compute:.4f} | {memory:.4f} |'
            )
    return '\n'.join(lines) + '\n'
