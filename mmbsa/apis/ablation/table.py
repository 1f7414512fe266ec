"""Results of a grid: one row per combination of axis values, over its seeds."""

import csv
import io
import statistics
from dataclasses import dataclass

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
        return statistics.stdev(self.each(key)) if len(self.each(key)) > 1 else None

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
            points.append(
                (step, statistics.fmean(here), statistics.stdev(here) if len(here) > 1 else 0.0)
            )
        return points


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
            row.runs.append(result)
    return list(rows.values())


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

    wanted = [
        (f'{metric}, mean ± std', True, lambda row: spread(row, 'final')),
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
        (
            'firing rate',
            any(row.each('firing_rate') for row in rows),
            lambda row: (
                '-' if row.mean('firing_rate') is None else f'{100 * row.mean("firing_rate"):.1f} %'
            ),
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

    Every combination has one line per run, then mean and sample standard deviation.

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
        for statistic, take in (('mean', row.mean), ('std', row.std)):
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
