"""Plots of a grid, and one HTML page with all results."""

import html
import io
import json
import textwrap
from dataclasses import asdict
from pathlib import Path

import matplotlib

from mmbsa.apis.ablation.grid import Grid
from mmbsa.apis.ablation.state import CellFolder
from mmbsa.apis.ablation.table import (
    Row,
    collect,
    columns,
    comma_separated,
    differences,
    markdown,
    rounded,
)
from mmbsa.utils.files import atomic_open
from mmbsa.utils.page import html_image, html_page, html_table

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402  (the backend must be set first)


def write_report(
    grid: Grid,
    folders: list[CellFolder],
    metric: str,
    out: Path,
    failed: dict[str, str] | None = None,
    command: str = '',
) -> list[Row]:
    """Write the files of the report.

    They are ``table.md``, ``results.csv``, ``results.json``, ``curves.png``, ``bars.png``,
    ``costs.png`` and ``report.html``.

    Args:
        grid: the grid.
        folders: folders of all its cells; cells that are not done count as missing.
        metric: name of the compared metric.
        out: folder of the files.
        failed: name of a cell -> the end of its output; None by default.
        command: command that the page shows for reproduction; empty by default.

    Returns:
        The rows of the table.
    """
    rows = collect(grid, folders)
    files = {
        'table.md': markdown(grid, rows, metric).encode(),
        'results.csv': comma_separated(grid, rows, metric).encode(),
        'results.json': json.dumps(
            [
                dict(
                    values=row.values,
                    metric=metric,
                    mean=row.mean(),
                    std=row.std(),
                    interval=row.interval(),
                    difference=difference and asdict(difference),
                    runs=row.runs,
                    published=row.published,
                )
                for row, difference in zip(rows, differences(grid, rows))
            ],
            indent=1,
        ).encode(),
    }
    pictures = {}
    if any(row.runs for row in rows):
        pictures = {
            'bars.png': bars(grid, rows, metric),
            'curves.png': curves(grid, rows, metric, folders),
        }
    if any(row.mean('firing_rate') is not None for row in rows):
        pictures['costs.png'] = costs(grid, rows, metric)
    files |= pictures
    files['report.html'] = page(
        grid, rows, metric, pictures, folders, failed or {}, command
    ).encode()
    for name, content in files.items():
        with atomic_open(Path(out) / name) as file:
            file.write(content)
    return rows


def curves(grid: Grid, rows: list[Row], metric: str, folders: list[CellFolder]) -> bytes:
    """Draw the mean of every row over the steps, with a band of one standard deviation.

    Args:
        grid: the grid.
        rows: rows of the table.
        metric: name of the compared metric.
        folders: folders of all cells.

    Returns:
        The plot as PNG.
    """
    fig, axis = plt.subplots(figsize=(8, 4.6), layout='constrained')
    shown = [row for row in rows if row.runs]
    for row in shown:
        colour, line = _style(grid, row)
        points = row.curve()
        if not points:
            continue
        steps, means, stds = map(list, zip(*points))
        axis.plot(
            steps,
            means,
            color=colour,
            linestyle=line,
            linewidth=1.8,
            label=f'{row.label}: {rounded(row.mean())}',
        )
        axis.fill_between(
            steps,
            [m - s for m, s in zip(means, stds)],
            [m + s for m, s in zip(means, stds)],
            color=colour,
            alpha=0.13,
            linewidth=0,
        )
    axis.set_xlabel('epoch' if folders[0].cell.config.train_cfg.get('max_epochs') else 'iteration')
    axis.set_ylabel(f'validation {metric}')
    fig.suptitle('\n'.join(textwrap.wrap(grid.title or grid.name, 90)), fontsize=11)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc='center left', bbox_to_anchor=(1.01, 0.5), frameon=False)
    return _png(fig)


def bars(grid: Grid, rows: list[Row], metric: str) -> bytes:
    """Draw one bar per row with its standard deviation and its runs, grouped by the first axis.

    Published results have a separate panel, because they come from another and usually larger
    training.

    Args:
        grid: the grid.
        rows: rows of the table.
        metric: name of the compared metric.

    Returns:
        The plot as PNG.
    """
    told = [row for row in rows if row.published is not None]
    width = max(5.5, 1.2 + 0.62 * len(rows)) * (1.75 if told else 1)
    fig, axes = plt.subplots(
        1, 1 + bool(told), figsize=(min(width, 16), 4.2), layout='constrained', squeeze=False
    )
    _panel(
        axes[0, 0],
        rows,
        [row.mean() for row in rows],
        [row.std() or 0 for row in rows],
        [row.each() for row in rows],
        f'ours: {metric}',
        f'final value, mean ± std over {max(row.total for row in rows)} seeds',
    )
    if told:
        _panel(
            axes[0, 1],
            rows,
            [row.published for row in rows],
            None,
            None,
            grid.published.get('metric', metric),
            f'published: {grid.published["source"]}',
        )
    fig.suptitle('\n'.join(textwrap.wrap(grid.title or grid.name, 100)), fontsize=11)
    return _png(fig)


def costs(grid: Grid, rows: list[Row], metric: str) -> bytes:
    """Draw the metric against the firing rate, and against the energy if it is known.

    A small dot is a run, a large one the mean of a row with its 95 % confidence interval.

    Args:
        grid: the grid.
        rows: rows of the table.
        metric: name of the compared metric.

    Returns:
        The plot as PNG.
    """
    kinds = [('firing_rate', 100, 'firing rate, %'), ('energy_mj', 1, 'energy, mJ')]
    kinds = [kind for kind in kinds if any(row.mean(kind[0]) is not None for row in rows)]
    fig, axes = plt.subplots(
        1, len(kinds), figsize=(5.5 * len(kinds), 4.2), layout='constrained', squeeze=False
    )
    for axis, (key, scale, label) in zip(axes[0], kinds):
        for index, row in enumerate(rows):
            if row.mean(key) is None:
                continue
            colour, marker = _point_style(grid, row, index)
            axis.scatter([scale * x for x in row.each(key)], row.each(), s=12, color=colour)
            axis.errorbar(
                scale * row.mean(key),
                row.mean(),
                yerr=row.interval(),
                color=colour,
                marker=marker,
                markersize=8,
                capsize=4,
                label=row.label,
            )
        axis.locator_params(axis='x', nbins=6)
        axis.set_xlabel(label)
        axis.set_ylabel(f'validation {metric}')
        axis.grid(alpha=0.3)
    axes[0, -1].legend(fontsize=8, loc='center left', bbox_to_anchor=(1.01, 0.5), frameon=False)
    fig.suptitle('\n'.join(textwrap.wrap(grid.title or grid.name, 100)), fontsize=11)
    return _png(fig)


def _panel(
    axis,
    rows: list[Row],
    heights: list,
    stds: list | None,
    dots: list | None,
    label: str,
    title: str,
) -> None:
    groups = list(dict.fromkeys(next(iter(row.values.values())) for row in rows))
    palette, several = plt.get_cmap('tab10').colors, len(rows[0].values) > 1 if rows else False
    places, place, last = [], -1.0, None
    for row in rows:
        first = next(iter(row.values.values()))
        place += 1.5 if several and last not in (None, first) else 1.0
        places.append(place)
        last = first
    seen = [
        (p, row, h, i) for i, (p, row, h) in enumerate(zip(places, rows, heights)) if h is not None
    ]
    for p, row, height, index in seen:
        colour = palette[
            groups.index(next(iter(row.values.values()))) % len(palette) if several else 0
        ]
        axis.bar(
            p,
            height,
            0.8,
            color=colour,
            alpha=0.8,
            yerr=stds[index] if stds and stds[index] else None,
            capsize=4,
        )
        if dots:
            axis.scatter([p] * len(dots[index]), dots[index], s=9, color='black', zorder=3)
    values = [h + s for _, _, h, i in seen for s in ((stds[i], -stds[i]) if stds else (0, 0))]
    if values:  # differences matter in an ablation: the axis begins below the smallest bar
        low, high = min(values), max(values)
        room = (high - low) or abs(high) or 1
        axis.set_ylim(low - 0.6 * room, high + 0.25 * room)
        for p, _, height, _ in seen:  # at the bottom of a bar, where no error bar and no run is
            text = f'{height:.{1 if abs(height) > 1 else 3}f}'
            axis.text(p, low - 0.55 * room, text, ha='center', va='bottom', fontsize=8)
    axis.set_xticks(
        places,
        ['\n'.join(row.values.values()) for row in rows],
        fontsize=8,
        rotation=0 if max((len(row.label) for row in rows), default=0) < 24 else 30,
    )
    axis.set_xlim(-0.7, place + 0.7)
    axis.set_ylabel(label)
    axis.set_title('\n'.join(textwrap.wrap(title, 75)), fontsize=9)
    axis.grid(axis='y', alpha=0.3)


def page(
    grid: Grid,
    rows: list[Row],
    metric: str,
    pictures: dict[str, bytes],
    folders: list[CellFolder],
    failed: dict[str, str],
    command: str,
) -> str:
    """Return an HTML page without external files: table, plots, overrides of every value, failures.

    Args:
        grid: the grid.
        rows: rows of the table.
        metric: name of the compared metric.
        pictures: name of a plot -> PNG.
        folders: folders of all cells.
        failed: name of a cell -> the end of its output.
        command: command for reproduction.
    """
    header, cells = columns(grid, rows, metric)
    means = [row.mean() for row in rows]
    best = max((mean for mean in means if mean is not None), default=None)
    parts = [
        f'<p>{html.escape(grid.about)}</p>' if grid.about else '',
        html_table(
            header,
            cells,
            [index for index, mean in enumerate(means) if mean is not None and mean == best],
        ),
        f'<p>Published figures: {html.escape(grid.published["source"])}. They are not ours.</p>'
        if any(row.published is not None for row in rows)
        else '',
        '<p>Mean and sample standard deviation of the last validation, over the seeds. The best '
        'mean is bold. The firing '
        'rate is the mean over all neurons, steps and samples of that validation. The intervals '
        'and the paired test assume that results and differences over the seeds are normally '
        'distributed (t distribution).</p>',
        *(html_image(name, content) for name, content in pictures.items()),
    ]
    if failed:
        parts.append('<h2>Failed</h2>')
        parts += [
            f'<h3>{html.escape(name)}</h3><pre>{html.escape(tail)}</pre>'
            for name, tail in failed.items()
        ]
    parts += [
        '<h2>What was varied</h2>',
        f'<p>Base config: {html.escape(grid.base.name)}</p>',
        f'<pre>{html.escape(json.dumps(grid.axes, indent=1, default=str))}</pre>',
    ]
    if command:
        parts.append(f'<h2>Command</h2><pre>{html.escape(command)}</pre>')
    parts += [
        '<h2>Runs</h2>',
        html_table(
            ['cell, seed, hash of its config', 'state'],
            [[folder.cell.name, folder.status()] for folder in folders],
        ),
    ]
    return html_page(grid.title or grid.name, parts)


def _style(grid: Grid, row: Row) -> tuple:
    """Return colour and line style of a row.

    With two axes, colour and style each represent one axis; otherwise every row has its own colour.
    """
    colours, lines = plt.get_cmap('tab10').colors, ['-', '--', ':', '-.']
    sizes = [len(values) for values in grid.axes.values()]
    places = [list(values).index(row.values[axis]) for axis, values in grid.axes.items()]
    if len(sizes) == 2 and sizes[0] <= len(colours) and sizes[1] <= len(lines):
        return colours[places[0]], lines[places[1]]
    if len(sizes) == 2 and sizes[0] <= len(lines) and sizes[1] <= len(colours):
        return colours[places[1]], lines[places[0]]
    place = 0
    for size, index in zip(sizes, places):
        place = place * size + index
    return colours[place % len(colours)], lines[place // len(colours) % len(lines)]


def _point_style(grid: Grid, row: Row, index: int) -> tuple:
    """Return colour and marker of a row: its own colour, and the marker of its first value."""
    axis, values = next(iter(grid.axes.items()))
    colours, markers = plt.get_cmap('tab10').colors, 'osD^v<>P*X'
    place = list(values).index(row.values[axis]) if len(grid.axes) > 1 else 0
    return colours[index % len(colours)], markers[place % len(markers)]


def _png(fig) -> bytes:
    out = io.BytesIO()
    fig.savefig(out, format='png', dpi=110)
    plt.close(fig)
    return out.getvalue()
