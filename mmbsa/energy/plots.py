"""Plots of energy: bars per component for a network and its twins, and energy over firing rate."""

from pathlib import Path

import matplotlib

from mmbsa.energy.account import Energy
from mmbsa.energy.compare import Comparison
from mmbsa.energy.scope import COMPONENTS

matplotlib.use('Agg', force=False)


def bars(accounts: dict[str, Energy], path: str | Path) -> Path:
    """Draw the energy of several networks as stacked bars, in mJ per image, and return the path.

    There is one bar per network, stacked by component (stem, attention, MLP, ...). One panel shows
    compute. A second panel shows memory, if the cost table has a cost of memory.

    Args:
        accounts: name of the network -> energy, for example ``Comparison.accounts``.
        path: picture file to write.
    """
    from matplotlib import pyplot

    names = list(accounts)
    parts = {name: account.parts() for name, account in accounts.items()}
    # a cost table without memory has one panel
    kinds = [
        (index, what)
        for index, what in enumerate(('compute', 'memory'))
        if index == 0 or any(value[1] for found in parts.values() for value in found.values())
    ]
    figure, axes = pyplot.subplots(
        1, len(kinds), figsize=(5.5 * len(kinds), 4.2), squeeze=False, layout='constrained'
    )
    for axis, (index, what) in zip(axes[0], kinds):
        bottom = [0.0] * len(names)
        for part in COMPONENTS:
            heights = [parts[name].get(part, (0.0, 0.0))[index] for name in names]
            if any(heights):
                axis.bar(names, heights, bottom=bottom, label=part)
                bottom = [a + b for a, b in zip(bottom, heights)]
        axis.set_ylabel(f'{what}, mJ per image')
        axis.tick_params(axis='x', labelrotation=20, labelsize=8)
        if any(bottom):
            axis.legend(fontsize=7)
    first = next(iter(accounts.values()))
    figure.suptitle(
        f'{first.report.model}, unit costs {first.cost.name}: {first.cost.pair}', fontsize=9
    )
    return _finish(figure, path)


def over_rate(comparison: Comparison, path: str | Path, points: int = 41) -> Path:
    """Draw the energy over the mean firing rate, with the twins and the break-even rates as lines.

    Args:
        comparison: a spiking network and its twin.
        path: picture file to write.
        points: number of firing rates on the curve; 41 by default.

    Returns:
        The path.

    Raises:
        ValueError: the network emitted no spike.
    """
    from matplotlib import pyplot

    rate = comparison.snn.rate
    if not rate:
        raise ValueError('energy over the firing rate: the network never fired')
    even = {'compute': comparison.break_even(memory=False), 'total': comparison.break_even()}
    highest = (
        max(1.5, *(1.2 * found / rate for found in even.values() if found))
        if any(even.values())
        else 1.5
    )
    factors = [highest * index / (points - 1) for index in range(points)]
    energies = [comparison.at_rate(factor) for factor in factors]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.2))
    for axis, what in zip(axes, even):
        y = [compute + (memory if what == 'total' else 0.0) for compute, memory in energies]
        axis.plot([100 * rate * factor for factor in factors], y, label='spiking')
        for name, account in comparison.accounts.items():
            if name != 'spiking':
                axis.axhline(
                    account.total if what == 'total' else account.compute,
                    linestyle='--',
                    linewidth=1,
                    color=f'C{list(comparison.accounts).index(name)}',
                    label=name,
                )
        axis.axvline(100 * rate, color='grey', linewidth=0.8, label='measured')
        level = even[what]
        if level is not None:
            axis.axvline(
                100 * level,
                color='black',
                linestyle=':',
                label=f'break-even {100 * level:.1f} %',
            )
        axis.set_xlabel('mean firing rate, %')
        axis.set_ylabel(f'{what}, mJ per image')
        axis.legend(fontsize=7)
    figure.suptitle(
        f'{comparison.snn.model}, unit costs {comparison.cost.name}: {comparison.cost.pair}',
        fontsize=9,
    )
    return _finish(figure, path)


def _finish(figure, path: str | Path) -> Path:
    from matplotlib import pyplot

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if figure.get_layout_engine() is None:
        figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path
