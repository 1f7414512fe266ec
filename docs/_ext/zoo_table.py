"""Sphinx extension: the model zoo as one table that readers can search and sort, and pictures of
accuracy against parameters and energy. Everything is read from the metafiles under ``configs``.

``{zoo-table}`` is the directive of the table; ``_static/zoo_table.js`` makes it searchable. The
pictures are ``generated/*.svg``.
"""

import sys
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

import matplotlib
import yaml
from docutils import nodes
from docutils.parsers.rst import Directive
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools' / 'dev'))

from model_zoo import CONDITIONS, source  # noqa: E402  (in the folder that was just added)

#: metric -> task; also which of a result's figures is the model's score.
TASKS = {
    'Top 1 Accuracy': 'classification',
    'mIoU': 'segmentation',
    'AUC': 'tracking',
    'box AP': 'detection',
    'bbox_mAP': 'detection',
    'coco/bbox_mAP': 'detection',
}
#: evaluator of a config without results -> task.
EVALUATORS = {
    'IoUMetric': 'segmentation',
    'CocoMetric': 'detection',
    'TrackingMetric': 'tracking',
    'PointAccuracy': 'point clouds',
    'Accuracy': 'classification',
}
ENERGY = 'Energy (mJ)'
COLUMNS = (
    'model', 'method', 'task', 'data', 'T', 'D', 'parameters (M)', 'score', 'of', 'mJ', 'with',
    'source',
)  # fmt: skip
NUMBERS = {'T', 'D', 'parameters (M)', 'score', 'mJ'}
#: the method that every family can have, as its metafile calls it.
BSA = 'Bipolar Self-attention'
#: a data set needs so many scored models for a picture.
ENOUGH = 6


@dataclass
class Record:
    """One result of a model, or a model without one.

    ``parameters`` are counted; ``score`` is in percent, of ``metric``; ``energy`` is in mJ per
    image; None is unknown.
    """

    model: str
    config: str | None
    method: str
    task: str
    data: str
    steps: int | None
    levels: int | None
    parameters: int
    score: float | None
    metric: str
    energy: float | None
    conditions: str
    source: str

    def cells(self) -> list[str | float | int | None]:
        """Values in the order of ``COLUMNS``."""
        million = round(self.parameters / 1e6, 2)
        head = [self.model, self.method, self.task, self.data, self.steps, self.levels, million]
        return [*head, self.score, self.metric, self.energy, self.conditions, self.source]


def task_of(model: dict) -> str:
    """Task of a model without results: a preset is a classifier, a config says it by its
    evaluator.

    Raises:
        ValueError: A config whose evaluator is not in ``EVALUATORS``.
    """
    if 'Config' not in model:
        return 'classification'
    evaluator = Config.fromfile(ROOT / model['Config']).get('test_evaluator') or {}
    first = evaluator[0] if isinstance(evaluator, list) else evaluator
    name = str(first.get('type')).rpartition('.')[2]
    if name not in EVALUATORS:
        raise ValueError(
            f'{model["Config"]}: test_evaluator.type is {name}; docs/_ext/zoo_table.py has the '
            f'tasks of {", ".join(EVALUATORS)}'
        )
    return EVALUATORS[name]


def record(model: dict, result: dict) -> Record:
    """One row; ``result`` is {} for a model without results."""
    meta, metrics = model['Metadata'], result.get('Metrics', {})
    metric = next((name for name in TASKS if name in metrics), '')
    conditions = (text.format(result[key]) for key, text in CONDITIONS.items() if key in result)
    return Record(
        model=model['Name'],
        config=model.get('Config'),
        method=model['In Collection'],
        task=TASKS[metric] if metric else task_of(model),
        data=result.get('Dataset', meta['Training Data']),
        steps=meta.get('T'),
        levels=meta.get('D'),
        parameters=meta['Parameters'],
        score=metrics.get(metric),
        metric=metric,
        energy=metrics.get(ENERGY),
        conditions=', '.join(conditions),
        source=source(result) if result else '',
    )


def metafile_paths() -> list[Path]:
    """Every YAML file under ``configs`` that lists models, wherever it lies."""
    return [path for path in sorted((ROOT / 'configs').rglob('*.yml')) if 'Models' in read(path)]


@cache
def read(path: Path) -> dict:
    """Content of a YAML file."""
    return yaml.safe_load(path.read_text(encoding='utf-8')) or {}


def records() -> list[Record]:
    """Every result of every model of every metafile."""
    return [
        record(model, result)
        for path in metafile_paths()
        for model in read(path)['Models']
        for result in model.get('Results') or [{}]
    ]


def cell(name: str, value, row: Record) -> str:
    """One table cell; an unknown number sorts last."""
    if name == 'model':
        tip = row.config or f"timm.create_model('{row.model}')"
        return f'<td><code title="{escape(tip)}">{escape(row.model)}</code></td>'
    if name in NUMBERS:
        text = '' if value is None else f'{value:g}' if name in 'TD' else f'{value:.2f}'
        return f'<td class="number" data-value="{"" if value is None else value}">{text}</td>'
    return f'<td>{escape(str(value))}</td>'


def table(rows: list[Record]) -> str:
    """HTML of the table; without JavaScript it is a plain table."""
    head = ''.join(
        f'<th scope="col"{" class=number" if name in NUMBERS else ""}>{escape(name)}</th>'
        for name in COLUMNS
    )
    body = '\n'.join(
        f'<tr>{"".join(cell(name, value, row) for name, value in zip(COLUMNS, row.cells()))}</tr>'
        for row in rows
    )
    return (
        f'<div class="zoo"><table class="zoo-table"><thead><tr>{head}</tr></thead>\n'
        f'<tbody>\n{body}\n</tbody></table></div>'
    )


def series(rows: list[Record], key: str) -> dict[str, list[Record]]:
    """Rows with a score and ``key``, by method; Bipolar Self-attention in any family is one method,
    and the last, so that it lies on top."""
    found = {}
    for row in rows:
        if row.score is not None and getattr(row, key) is not None:
            found.setdefault(BSA if 'bsa' in row.model else row.method, []).append(row)
    return {name: found[name] for name in sorted(found, key=lambda name: (name == BSA, name))}


def draw(rows: list[Record], key: str, label: str, title: str, path: Path) -> None:
    """Scatter of scores against ``key`` ('parameters' in millions, or 'energy' in mJ), one colour
    and marker per method."""
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    fig, axis = plt.subplots(figsize=(8, 4.6), constrained_layout=True)
    colours = plt.get_cmap('tab20').colors
    for i, (name, found) in enumerate(series(rows, key).items()):
        unit = 1e6 if key == 'parameters' else 1
        axis.plot(
            [getattr(row, key) / unit for row in found],
            [row.score for row in found],
            linestyle='none',
            marker='*' if name == BSA else 'os^Dv<>PhX'[i % 10],
            color='black' if name == BSA else colours[2 * i % 20 + (i >= 10)],
            markersize=11 if name == BSA else 7,
            label=name,
        )
    axis.set_xscale('log')
    axis.xaxis.set_major_formatter('{x:g}')
    axis.xaxis.set_minor_formatter(lambda x, _: f'{x:g}' if f'{x:e}'[0] in '25' else '')
    axis.set_xlabel(label)
    axis.set_ylabel(f'{rows[0].metric} (%)')
    axis.set_title(title)
    axis.grid(True, which='both', linewidth=0.4, color='0.85')
    axis.legend(fontsize=8, loc='center left', bbox_to_anchor=(1.01, 0.5), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({'svg.hashsalt': 'mmbsa', 'svg.fonttype': 'path'}):
        fig.savefig(path, metadata={'Date': None})
    plt.close(fig)


def pictures(rows: list[Record]) -> dict[str, tuple[str, str, str, list[Record]]]:
    """File name -> (key, label of the axis, title, rows): one picture of parameters per data set
    with ``ENOUGH`` scored models, one of energy where ``ENOUGH`` published energies are known."""
    found, scored = {}, [row for row in rows if row.score is not None]
    for data in dict.fromkeys(row.data for row in scored):
        here = [row for row in scored if row.data == data and row.metric]
        file = ''.join(c if c.isalnum() else '_' for c in data.lower())
        if len(here) >= ENOUGH and len({row.parameters for row in here}) > 1:
            label = 'parameters (millions)'
            found[f'{file}_parameters.svg'] = ('parameters', label, data, here)
        with_energy = [row for row in here if row.energy is not None]
        if len(with_energy) >= ENOUGH:
            label = 'energy of one image as published (mJ)'
            found[f'{file}_energy.svg'] = ('energy', label, data, with_energy)
    return dict(sorted(found.items(), key=lambda item: -len(item[1][3])))


class ZooTable(Directive):
    """``{zoo-table}``: the table of all models."""

    def run(self) -> list[nodes.Node]:
        """Return the table and note that the page depends on the metafiles."""
        for path in metafile_paths():
            self.state.document.settings.record_dependencies.add(str(path))
        return [nodes.raw('', table(self.state.document.settings.env.zoo_records), format='html')]


class ZooPictures(Directive):
    """``{zoo-pictures}``: pictures of scores against parameters and energy."""

    def run(self) -> list[nodes.Node]:
        """Return one image per picture, with a text for those who cannot see it."""
        found = []
        for name, (_, label, title, rows) in pictures(
            self.state.document.settings.env.zoo_records
        ).items():
            text = f'{rows[0].metric} against {label} of {len(rows)} results on {title}'
            found.append(nodes.image('', uri=f'generated/{name}', alt=text))
        return found


def prepare(app) -> None:
    """Read the metafiles once, and draw the pictures."""
    app.env.zoo_records = records()
    for name, (key, label, title, rows) in pictures(app.env.zoo_records).items():
        draw(rows, key, label, title, Path(app.srcdir) / 'generated' / name)


def setup(app) -> dict:
    """Register the extension."""
    app.add_directive('zoo-table', ZooTable)
    app.add_directive('zoo-pictures', ZooPictures)
    app.connect('builder-inited', prepare)
    return dict(parallel_read_safe=True)
