"""A spiking network beside its twins: bit-serial, int8, float; and the firing rate at which they
cost the same.
"""

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from mmbsa.energy.account import Energy
from mmbsa.energy.costs import ADD, MULT, CostTable, cost_table
from mmbsa.energy.counts import Counts, Row
from mmbsa.energy.report import Report, count_operations
from mmbsa.energy.twin import quantised_twin

#: figures that grow with the firing rate.
_EVENTS = (
    'ac',
    'ac_events',
    'events',
    'words_event',
    'event_bits',
    'in_events',
    'in_counts',
    'gates',
    'spikes',
    'resets',
    'mac_nonzero',
)
#: rate that a sweep ends at, in multiples of the measured one.
_MOST = 1e6


@dataclass
class Comparison:
    """One input through a spiking network and its quantised twin.

    Attributes:
        snn, twin: what was counted.
        cost: unit costs; the twin is charged under ``cost.for_twin()``.
        w_bits: of the weights of both; None is the cost table's width.
    """

    snn: Report
    twin: Report
    cost: CostTable
    w_bits: int | None = None

    def __post_init__(self):
        if self.w_bits is not None:
            self.cost = self.cost.but(weight_bits=self.w_bits)

    @property
    def energy(self) -> Energy:
        """Energy of the spiking network."""
        return Energy(self.snn, self.cost)

    @property
    def bit_serial(self) -> Energy:
        """Of the twin, whose activations are taken bit by bit, zero bits skipped."""
        return Energy(self.twin, self.cost.for_twin())

    def multiplied(self, mac: float, bits: int, skip_zeros: bool = False) -> Energy:
        """Of the twin on multipliers: every multiply-add costs ``mac`` pJ, weights and activations
        have ``bits`` bits.
        """
        cost = self.cost.for_twin(mac=mac, weight_bits=bits, real_bits=bits)
        return Energy(
            replace(
                self.twin, rows=[_as_macs(row, skip_zeros, bits) for row in self.twin.counted()]
            ),
            cost,
        )

    @property
    def accounts(self) -> dict[str, Energy]:
        """Name -> energy of the four networks, and of int8 multipliers that skip zeros."""
        int8 = ADD['int8'] + MULT['int8']
        return {
            'spiking': self.energy,
            'bit-serial': self.bit_serial,
            'int8 MAC': self.multiplied(int8, 8),
            'int8 MAC, zeros skipped': self.multiplied(int8, 8, skip_zeros=True),
            'float MAC': self.multiplied(ADD['fp32'] + MULT['fp32'], 32),
        }

    def at_rate(self, factor: float) -> tuple[float, float]:
        """Compute and memory, mJ per image, if every layer fired ``factor`` times as often.

        Products of two spiking operands grow as the square.
        """
        scaled = Energy(
            replace(self.snn, rows=[_at_rate(row, factor) for row in self.snn.counted()]), self.cost
        )
        return scaled.compute, scaled.memory

    def break_even(self, memory: bool = True) -> float | None:
        """The mean firing rate at which the spiking network costs as much as the bit-serial twin.

        Args:
            memory: whether the traffic counts.

        Returns:
            None if the twin is cheaper than the silent network, or the network never fired.
        """

        def cost(factor: float) -> float:
            compute, traffic = self.at_rate(factor)
            return compute + traffic * memory

        target = self.bit_serial.total if memory else self.bit_serial.compute
        rate = self.snn.rate
        if not rate or cost(0.0) > target or cost(1.0) == cost(0.0):
            return None
        low, high = 0.0, 1.0
        while cost(high) < target and high < _MOST:
            low, high = high, 2 * high
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if cost(middle) < target else (low, middle)
        return rate * (low + high) / 2

    def layers(self) -> list[dict[str, Any]]:
        """Per layer with weights: measured mean count per step, and the one at which both need as
        many accumulates.

        That is B r_b / T for B bits of which a share r_b is one.
        """
        twins = {row.key: row for row in self.twin.counted()}
        found = []
        for row in self.snn.counted():
            other = twins.get(row.key)
            if (
                row.kind not in ('conv', 'linear')
                or other is None
                or not row.counts.ac
                and row.input == 'real'
            ):
                continue
            ours, theirs = row.counts, other.counts
            if not theirs.in_values or not ours.in_values or other.input != 'bits':
                continue
            steps = ours.in_values / theirs.in_values
            found.append(
                dict(
                    layer=row.name,
                    component=row.component,
                    mean_count=ours.in_counts / ours.in_values,
                    bits=theirs.in_bits // theirs.in_values,
                    bit_density=theirs.one_bits / theirs.in_bits,
                    break_even=theirs.one_bits / theirs.in_values / steps,
                    ac=ours.ac,
                    twin_ac=theirs.ac,
                )
            )
        return found

    def as_dict(self) -> dict:
        """Plain data."""
        return dict(
            cost=self.cost.as_dict(),
            pair=self.cost.pair,
            rate=self.snn.rate,
            accounts={
                name: dict(compute=e.compute, memory=e.memory, total=e.total)
                for name, e in self.accounts.items()
            },
            break_even=dict(compute=self.break_even(memory=False), total=self.break_even()),
            layers=self.layers(),
            twin=self.twin.as_dict(),
        )

    def markdown(self) -> str:
        """Networks side by side, break-even rates, and layers."""

        def text(rate: float | None) -> str:
            return (
                'none: the twin is cheaper than the silent network'
                if rate is None
                else f'{100 * rate:.2f} %'
            )

        lines = [
            f'Same input, unit costs {self.cost.name} ({self.cost.pair}), weights of '
            f'{self.cost.weight_bits} bits, mJ per image:',
            '',
            '| network | compute | memory | total |',
            '|---|---|---|---|',
        ]
        lines += [
            f'| {name} | {e.compute:.6f} | {e.memory:.6f} | {e.total:.6f} |'
            for name, e in self.accounts.items()
        ]
        rate = 'none' if self.snn.rate is None else f'{100 * self.snn.rate:.2f} %'
        lines += [
            '',
            f'Mean firing rate {rate}; break-even with the bit-serial twin on compute: '
            f'{text(self.break_even(memory=False))}, in total: {text(self.break_even())}.',
            '',
            '| layer | mean count per step | bits | density of ones | break-even |',
            '|---|---|---|---|---|',
        ]
        lines += [
            f'| {x["layer"]} | {x["mean_count"]:.4f} | {x["bits"]} | {x["bit_density"]:.4f} | '
            f'{x["break_even"]:.4f} |'
            for x in self.layers()
        ]
        return '\n'.join(lines) + '\n'


def _changed(row: Row, **figures: float) -> Row:
    counts = Counts()
    counts += row.counts
    for name, value in figures.items():
        setattr(counts, name, value)
    return replace(row, counts=counts)


def _as_macs(row: Row, skip_zeros: bool, bits: int) -> Row:
    """The row of a layer whose products are multiplied instead of accumulated."""
    counts = row.counts
    if row.kind not in ('conv', 'linear', 'matmul', 'attention'):
        return _changed(row, out_bits=counts.outputs * bits) if row.kind == 'quantiser' else row
    macs = counts.events if skip_zeros else counts.dense
    return _changed(
        row,
        mac=macs,
        mac_repeated=macs,
        ac=0,
        ac_events=0,
        shifts=0,
        in_bits=counts.in_values * bits,
    )


def _at_rate(row: Row, factor: float) -> Row:
    spiking = [kind for _, kind, *_ in row.operands if kind in ('binary', 'ternary', 'integer')]
    counts = row.counts
    if row.kind == 'neuron':
        return _changed(row, spikes=counts.spikes * factor, resets=counts.resets * factor)
    if not spiking:
        return row
    power = factor**2 if len(spiking) > 1 else factor
    figures = {name: getattr(counts, name) * power for name in _EVENTS}
    if 'coincidences' in row.detail:  # shifted values are added whether anything fires or not
        fixed = row.detail['adds']
        figures.update(
            ac=(counts.ac - fixed) * power + fixed,
            ac_events=(counts.ac_events - fixed) * power + fixed,
        )
    return _changed(row, **figures)


def compare(
    model: nn.Module,
    *inputs: Any,
    cost: str | CostTable = 'field',
    w_bits: int | None = 8,
    a_bits: int | None = None,
    steps: int | None = None,
    twin_inputs: tuple | None = None,
    **options: Any,
) -> Comparison:
    """Count a spiking network and its quantised twin on the same input.

    Args:
        model, inputs: as :func:`count_operations` takes them.
        cost: preset, file or table.
        w_bits, a_bits, steps: of :func:`quantised_twin`.
        twin_inputs: for models that are given steps (T, B, ...): what the twin gets instead; None
            is ``inputs``.
        options: of :func:`count_operations`.
    """
    twin = quantised_twin(model, w_bits, a_bits, steps)
    snn = count_operations(model, *inputs, **options)
    other = count_operations(twin, *(inputs if twin_inputs is None else twin_inputs), **options)
    return Comparison(snn, other, cost_table(cost), w_bits)
