"""Plots of the results of ``ops.py``."""

import math
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot  # noqa: E402


def finish(figure, axes, path: Path) -> None:
    """Set logarithmic axes and legends, and write the file."""
    for axis in axes.flat:
        axis.set_xscale('log', base=2)
        axis.set_yscale('log')
        axis.grid(alpha=0.3)
        axis.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    print(f'drawn: {path}')


def over_size(rows: list[dict], labels: dict[str, str], path: Path) -> None:
    """Plot time (upper row) and memory (lower row) over the size.

    There is one column per op, other sizes and pass.

    Args:
        rows: rows of ``ops.py``.
        labels: op -> meaning of its size ``n``.
        path: picture to write.
    """
    measured = [row for row in rows if 'ms' in row]

    def panel(row):
        others = {
            k: v
            for k, v in row['point'].items()
            if k not in ('n', 'batch', 'heads', 'd_v', 'layer')
        }
        return row['op'], *others.items(), row['backward']

    panels = list(dict.fromkeys(map(panel, measured)))
    size = 3.6 * len(panels), 7
    figure, axes = pyplot.subplots(
        2, len(panels), figsize=size, sharex=False, sharey=False, squeeze=False
    )
    for column, wanted in zip(axes.T, panels):
        inside = [row for row in measured if panel(row) == wanted]
        for name in dict.fromkeys(row['name'] for row in inside):
            line = sorted(
                (
                    row['point']['n'],
                    math.prod(row['point'].get(k, 1) for k in ('batch', 'heads')),
                    row['ms'],
                    row['peak'],
                )
                for row in inside
                if row['name'] == name
            )
            n = [x[0] for x in line]
            column[0].plot(n, [x[2] / x[1] for x in line], marker='o', label=name)
            column[1].plot(n, [x[3] / x[1] / 2**20 for x in line], marker='o', label=name)
        op, *others, backward = wanted
        column[0].set_title(
            f'{op}, {", ".join(f"{k} = {v}" for k, v in others)}\n'
            f'{"forward + backward" if backward else "forward"}',
            fontsize=9,
        )
        column[1].set_xlabel(labels[op])
    axes[0, 0].set_ylabel('ms (of attention: per head)')
    axes[1, 0].set_ylabel('peak MiB (of attention: per head)')
    finish(figure, axes, path)


def growth(rows: list[dict], path: Path) -> None:
    """Plot time of forward, of forward + backward, and its memory, over one size at a time.

    There is one column per op and size.
    """
    measured = [row for row in rows if 'ms' in row]
    columns = list(dict.fromkeys((row['op'], row['axis']) for row in measured))
    figure, axes = pyplot.subplots(3, len(columns), figsize=(3.4 * len(columns), 9), squeeze=False)
    for column, (op, size) in zip(axes.T, columns):
        inside = [row for row in measured if (row['op'], row['axis']) == (op, size)]
        others = ', '.join(
            f'{k} = {v}' for k, v in inside[0]['point'].items() if k != size and k != 'd_v'
        )
        for axis, backward, value in zip(column, (False, True, True), ('ms', 'ms', 'peak')):
            for name in dict.fromkeys(row['name'] for row in inside):
                line = sorted(
                    (row['point'][size], row[value] / (2**20 if value == 'peak' else 1))
                    for row in inside
                    if row['name'] == name and row['backward'] is backward
                )
                axis.plot(*zip(*line), marker='o', markersize=3, label=name)
        column[0].set_title(f'{op} over {size}\n{others}', fontsize=9)
        column[-1].set_xlabel(size)
    for axis, label in zip(
        axes[:, 0], ('forward, ms', 'forward + backward, ms', 'forward + backward, peak MiB')
    ):
        axis.set_ylabel(label)
    finish(figure, axes, path)
