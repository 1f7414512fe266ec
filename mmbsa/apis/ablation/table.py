"""Results of a grid: one row per combination of axis values, over its seeds."""

import csv
import io
import math
import statistics
from dataclasses import dataclass
from functools import partial

from scipy import stats

from mmbsa.apis.ablation.grid import Grid
from mmbsa.apis.ablation.state import CellFolder


@dataclass
class Row:
    """Results of the seeds of one combination.

    Attributes:
        values: axis -> value.
        total: number of seeds in the grid.
        runs: results of the seeds that are done, see :meth:`CellFolder.result`.
        published: published result of the combination; None if there is none.
    """

    values: dict[str, str]
    total: int
    runs: list[dict]
    published: float | None = None

    @property
    def label(self) -> str:
        """Values of the axes, for legends."""
        return ' '.join(self.values.values())

    def each(self, key: str = 'final') -> list[float]:
        """Return one result of every run, if all runs have it; otherwise an empty list.

        Args:
            key: name of the result, ``'final'`` by default (the last validation).
        """
        found = [run.get(key) for run in self.runs]
        return [] if None in found else found

    def mean(self, key: str = 'final') -> float | None:
        """Return the mean over the seeds; None without a run.

        Args:
            key: name of the result, ``'final'`` by default (the last validation).
        """
        return statistics.fmean(self.each(key)) if self.each(key) else None

    def std(self, key: str = 'final') -> float | None:
        """Return the sample standard deviation (n - 1); None for fewer than two runs.

        Args:
            key: name of the result, ``'final'`` by default (the last validation).
        """
        return deviation(self.each(key)) if len(self.each(key)) > 1 else None

    def interval(self, key: str = 'final') -> float | None:
        """Return half the width of the 95 % confidence interval of the mean; None for fewer than
        two runs.

        It assumes that the results are normally distributed over the seeds (t distribution).

        Args:
            key: name of the result, ``'final'`` by default (the last validation).
        """
        return half_width(self.each(key)) if len(self.each(key)) > 1 else None

    def difference(self, reference: 'Row', key: str = 'final') -> 'Difference | None':
        """Compare the runs with those of another combination that have the same seeds.

        Args:
            reference: the other combination.
            key: name of the result, ``'final'`` by default (the last validation).

        Returns:
            The difference to the reference; None for fewer than two common seeds.
        """
        theirs = {run['seed']: run.get(key) for run in reference.runs}
        pairs = [(run.get(key), theirs.get(run['seed'])) for run in self.runs]
        each = [a - b for a, b in pairs if a is not None and b is not None]
        if len(each) < 2:
            return None
        mean, half = statistics.fmean(each), half_width(each)
        # differences of rounded metrics may be equal by chance: no spread, no test
        equal = half <= 1e-9 * max(1.0, *(abs(value) for pair in pairs for value in pair if value))
        p = None if equal else float(stats.ttest_1samp(each, 0.0).pvalue)
        return Difference(mean, half, p, len(each))

    def curve(self) -> list[tuple[int, float, float]]:
        """Return (step, mean, sample standard deviation) at the steps that all runs have.

        The standard deviation is 0 for one run.
        """
        curves = [run['curve'] for run in self.runs]
        if not curves:
            return []
        points = []
        for step in sorted(set.intersection(*map(set, curves))):
            here = [curve[step] for curve in curves]
            points.append((step, statistics.fmean(here), deviation(here) if len(here) > 1 else 0.0))
        return points


@dataclass(frozen=True)
class Difference:
    """Difference between a combination and its reference, over the seeds of both (paired t-test).

    Attributes:
        mean: mean over the seeds.
        half: half the width of its 95 % confidence interval.
        p: probability of a mean at least that far from 0 if there is no difference (two-sided);
            None if all differences are equal.
        seeds: number of common seeds.
    """

    mean: float
    half: float
    p: float | None
    seeds: int


def half_width(values: list[float]) -> float:
    """Return half the width of the 95 % confidence interval of the mean of two or more values."""
    quantile = float(stats.t.ppf(0.975, len(values) - 1))
    return quantile * deviation(values) / len(values) ** 0.5


def deviation(values: list[float]) -> float:
    """Return the sample standard deviation (n - 1); NaN if a value is not finite."""
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def rounded(value: float, largest: float | None = None) -> str:
    """Return a metric as text: two decimals, or four if it is a fraction.

    Args:
        value: the metric, or its standard deviation.
        largest: a value that tells whether the metric is a fraction; default ``value``.
    """
    return f'{value:.{4 if abs(value if largest is None else largest) <= 1 else 2}f}'


def collect(grid: Grid, folders: list[CellFolder]) -> list[Row]:
    """Return one row per combination with the runs that are done, in the order of the grid."""
    rows: dict[tuple, Row] = {}
    for folder in folders:
        values = folder.cell.values
        row = rows.setdefault(
            tuple(values.items()), Row(values, 0, [], grid.published_value(values))
        )
        row.total += 1
        result = folder.result()
        if result is not None:
            rates = {rate_key(label): folder.layer_rate(part) for label, part in grid.rates.items()}
            row.runs.append(result | rates)
    return list(rows.values())


def rate_key(label: str) -> str:
    """Return the name of a result of :attr:`Grid.rates <mmbsa.apis.ablation.grid.Grid.rates>`."""
    return f'firing rate, {label}'


def columns(grid: Grid, rows: list[Row], metric: str) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the table as text; columns without any value are omitted.

    Args:
        grid: the grid.
        rows: rows of the table.
        metric: name of the compared metric.
    """

    def spread(row: Row, key: str) -> str:
        mean, std = row.mean(key), row.std(key)
        if mean is None:
            return '-'
        return rounded(mean) + ('' if std is None else f' ± {rounded(std, mean)}')

    def whole(row: Row, key: str) -> str:
        return '-' if row.mean(key) is None else f'{row.mean(key):.0f}'

    def interval(row: Row) -> str:
        mean, half = row.mean(), row.interval()
        if half is None:
            return '-'
        return f'{rounded(mean - half, mean)} to {rounded(mean + half, mean)}'

    def percent(row: Row, key: str) -> str:
        return '-' if row.mean(key) is None else f'{100 * row.mean(key):.1f} %'

    compared = differences(grid, rows)

    def difference(row: Row) -> str:
        found = compared[rows.index(row)]
        if found is None:
            return '-'
        mean, half = (rounded(value, row.mean()) for value in (found.mean, found.half))
        p = '' if found.p is None else f' (p = {found.p:.2g})'
        return f'{mean if found.mean < 0 else "+" + mean} ± {half}{p}'

    reference = ', '.join(f'{axis} = {name}' for axis, name in grid.reference.items())
    wanted = [
        (f'{metric}, mean ± std', True, lambda row: spread(row, 'final')),
        ('95 % interval', any(row.std() is not None for row in rows), interval),
        (f'difference to the reference ({reference})', any(compared), difference),
        (
            'seeds',
            True,
            lambda row: (
                str(len(row.runs))
                if len(row.runs) == row.total
                else f'{len(row.runs)} of {row.total}'
            ),
        ),
        ('each', True, lambda row: ', '.join(map(rounded, row.each())) or '-'),
        (
            f'test {metric}, mean ± std',
            any(row.each('test') for row in rows),
            lambda row: spread(row, 'test'),
        ),
        (
            'parameters',
            any(row.each('parameters') for row in rows),
            lambda row: (
                '-' if row.mean('parameters') is None else f'{row.mean("parameters") / 1e6:.3f} M'
            ),
        ),
        *(
            (name, any(row.each(key) for row in rows), partial(percent, key=key))
            for name, key in (
                ('firing rate', 'firing_rate'),
                *((rate_key(label), rate_key(label)) for label in grid.rates),
            )
        ),
        (
            'energy, mJ',
            any(row.each('energy_mj') for row in rows),
            lambda row: '-' if row.mean('energy_mj') is None else f'{row.mean("energy_mj"):.4g}',
        ),
        (
            'core seconds',
            any(row.each('core_seconds') for row in rows),
            lambda row: whole(row, 'core_seconds'),
        ),
        (
            f'published: {grid.published.get("metric", metric)}',
            any(row.published is not None for row in rows),
            lambda row: '-' if row.published is None else f'{row.published:g}',
        ),
    ]
    wanted = [(name, text) for name, there, text in wanted if there]
    header = [*grid.axes, *(name for name, _ in wanted)]
    return header, [[*row.values.values(), *(text(row) for _, text in wanted)] for row in rows]


def differences(grid: Grid, rows: list[Row]) -> list[Difference | None]:
    """Return the difference of every row to its reference; None where there is none.

    Args:
        grid: the grid; its :attr:`reference <Grid.reference>` names the references.
        rows: rows of the table.
    """
    found = {tuple(row.values.items()): row for row in rows}
    others = [grid.reference_values(row.values) for row in rows]
    others = [other and found.get(tuple(other.items())) for other in others]
    return [other and row.difference(other) for row, other in zip(rows, others)]


def markdown(grid: Grid, rows: list[Row], metric: str) -> str:
    """Return the table in Markdown, with a line that names the source of published results.

    Args:
        grid: the grid.
        rows: rows of the table.
        metric: name of the compared metric.
    """
    header, cells = columns(grid, rows, metric)
    lines = [header, ['---'] * len(header), *cells]
    text = ''.join(f'| {" | ".join(line)} |\n' for line in lines)
    return text + (
        f'\nPublished: {grid.published["source"]}.\n'
        if any(row.published is not None for row in rows)
        else ''
    )


def comma_separated(grid: Grid, rows: list[Row], metric: str) -> str:
    """Return CSV in full precision.

    Every combination has one line per run, then mean, sample standard deviation, and half the width
    of the 95 % confidence interval.

    Args:
        grid: the grid.
        rows: rows of the table.
        metric: name of the compared metric.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    figures = [
        key
        for key in (
            'final',
            'test',
            'parameters',
            'firing_rate',
            *map(rate_key, grid.rates),
            'energy_mj',
            'seconds',
            'core_seconds',
        )
        if any(key in run for row in rows for run in row.runs)
    ]
    writer.writerow(
        [
            *grid.axes,
            'statistic',
            'seeds',
            *(metric if key == 'final' else key for key in figures),
            'published',
        ]
    )
    for row in rows:
        names, published = list(row.values.values()), '' if row.published is None else row.published
        for run in row.runs:
            writer.writerow(
                [*names, f'seed {run["seed"]}', 1, *(run.get(key, '') for key in figures), '']
            )
        for statistic, take in (
            ('mean', row.mean),
            ('std', row.std),
            ('interval', row.interval),
        ):
            values = ['' if (value := take(key)) is None else value for key in figures]
            writer.writerow(
                [
                    *names,
                    statistic,
                    len(row.runs),
                    *values,
                    published if statistic == 'mean' else '',
                ]
            )
    return out.getvalue()
