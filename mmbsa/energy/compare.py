"""Comparison of a spiking network with its twins (bit-serial, int8, float).

It also computes the firing rate at which both have the same energy.
"""

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from mmbsa.energy.account import Energy
from mmbsa.energy.costs import ADD, MULT, CostTable, cost_table
from mmbsa.energy.counts import Counts, Row
from mmbsa.energy.report import Report, count_operations
from mmbsa.energy.twin import quantised_twin

#: counts that grow with the firing rate.
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
#: last rate of a sweep, as a multiple of the measured rate.
_MOST = 1e6


@dataclass
class Comparison:
    """Counts of one input in a spiking network and in its quantised twin.

    Attributes:
        snn: counts of the spiking network.
        twin: counts of the twin.
        cost: unit costs of the spiking network; the twin uses ``cost.for_twin()``.
        w_bits: bits of the weights of both networks; None uses the width of the cost table.
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
        """Energy of the twin if activations are processed bit by bit and zero bits are skipped."""
        return Energy(self.twin, self.cost.for_twin())

    def multiplied(self, mac: float, bits: int, skip_zeros: bool = False) -> Energy:
        """Return the energy of the twin on hardware with multipliers.

        Args:
            mac: cost of every multiply-add, in pJ.
            bits: bits of weights and activations.
            skip_zeros: whether multiplications with a zero activation are skipped; False by
                default.
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
        """Return name -> energy of four networks, and of int8 multipliers that skip zeros."""
        int8 = ADD['int8'] + MULT['int8']
        return {
            'spiking': self.energy,
            'bit-serial': self.bit_serial,
            'int8 MAC': self.multiplied(int8, 8),
            'int8 MAC, zeros skipped': self.multiplied(int8, 8, skip_zeros=True),
            'float MAC': self.multiplied(ADD['fp32'] + MULT['fp32'], 32),
        }

    def at_rate(self, factor: float) -> tuple[float, float]:
        """Return compute and memory energy if every layer fired ``factor`` times as often.

        Products of two spiking operands grow with the square of the factor.

        Args:
            factor: multiple of the measured firing rate.

        Returns:
            (compute, memory) in mJ per image.
        """
        scaled = Energy(
            replace(self.snn, rows=[_at_rate(row, factor) for row in self.snn.counted()]), self.cost
        )
        return scaled.compute, scaled.memory

    def break_even(self, memory: bool = True) -> float | None:
        """Return the mean firing rate at which the energy equals that of the bit-serial twin.

        Args:
            memory: whether memory traffic is included; True by default.

        Returns:
            The rate, or None if the twin needs less energy than the network without spikes, or if
            the network emitted no spike.
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
        """Return measured and break-even mean count per step of every layer with weights.

        At the break-even count, the spiking layer needs as many accumulates as the twin's layer. It
        is B r_b / T, where B is the number of bits of the twin and r_b the share of bits that are
        one.
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
        """Return the content as a dict of numbers, texts, lists and dicts, for JSON."""
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
        """Return Markdown: a table of the networks, the break-even rates, and a table of layers."""

        def text(rate: float | None) -> str:
            return (
                'none: the twin needs less energy than the network without spikes'
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
    """Return a copy of the row whose products use multiplications instead of accumulates."""
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
    if 'coincidences' in row.detail:  # shifted values are added without any spike too
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
        model: the spiking network.
        inputs: inputs of its forward, as in :func:`count_operations`.
        cost: name of a preset, JSON file or table of unit costs; ``'field'`` by default.
        w_bits: bits of the twin's weights; 8 by default, None keeps the weights.
        a_bits: bits of the twin's activations; None (default) matches the levels of each neuron.
        steps: number of time steps T; None (default) uses T of the model's encoder.
        twin_inputs: inputs of the twin, if the model's inputs have time steps (T, B, ...); None
            (default) uses ``inputs``.
        options: further arguments of :func:`count_operations`.

    Returns:
        The comparison.

    Raises:
        ValueError: as in :func:`count_operations` and :func:`quantised_twin`.
    """
    twin = quantised_twin(model, w_bits, a_bits, steps)
    snn = count_operations(model, *inputs, **options)
    other = count_operations(twin, *(inputs if twin_inputs is None else twin_inputs), **options)
    return Comparison(snn, other, cost_table(cost), w_bits)
