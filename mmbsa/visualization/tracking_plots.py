"""Success and precision plots of several trackers side by side."""

import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmbsa.utils.files import atomic_open

#: curve -> (title, label of the horizontal axis, score in the legend)
PANELS = dict(
    success=('Success', 'overlap threshold', 'AUC'),
    precision=('Precision', 'centre error threshold in pixels', 'PR'),
    norm_precision=('Normalised precision', 'centre error threshold in sides of the box', 'NPR'),
)


def plot_tracks(
    path: str | os.PathLike,
    curves: Mapping[str, Mapping[str, np.ndarray]],
    scores: Mapping[str, Mapping[str, float]],
    thresholds: Mapping[str, np.ndarray],
    title: str = '',
) -> None:
    """Write a picture with the three plots, completely or not at all.

    Args:
        path: file with the ending of a format that matplotlib writes.
        curves: tracker -> curve -> shares of frames.
        scores: tracker -> ``AUC``, ``PR``, ``NPR`` in percent, for the legends, best first.
        thresholds: curve -> values of the horizontal axis.
        title: title above the plots; empty by default.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.5))
    FigureCanvasAgg(figure)
    for axes, (name, (heading, label, score)) in zip(figure.subplots(1, 3), PANELS.items()):
        for tracker in sorted(curves, key=lambda tracker: -scores[tracker][score]):
            axes.plot(
                thresholds[name],
                curves[tracker][name],
                label=f'{tracker} [{scores[tracker][score]:.1f}]',
            )
        axes.set(
            title=heading,
            xlabel=label,
            ylabel='share of frames',
            ylim=(0, 1),
            xlim=(thresholds[name][0], thresholds[name][-1]),
        )
        axes.grid(alpha=0.3)
        axes.legend(fontsize='small')
    if title:
        figure.suptitle(title)
    figure.tight_layout()
    data = io.BytesIO()
    figure.savefig(data, format=Path(path).suffix.lstrip('.') or 'png', dpi=110)
    with atomic_open(path) as file:
        file.write(data.getvalue())
