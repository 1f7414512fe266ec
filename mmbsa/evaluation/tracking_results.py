"""Evaluation of result files of any tracker against the annotation of a benchmark."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mmbsa.evaluation.tracking_rules import (
    RULES,
    TrackingRules,
    curves,
    mean_curves,
    scores,
    sequence_errors,
)
from mmbsa.structures.track_files import read_boxes


class Annotated(Protocol):
    """Attributes that an annotation must have."""

    boxes: np.ndarray
    absent: np.ndarray
    attributes: Sequence[str]


@dataclass(frozen=True)
class TrackerResult:
    """Results of one tracker on one benchmark.

    Attributes:
        name: name of the tracker.
        per_sequence: sequence -> its three curves.
        mean: the three mean curves, as shares in 0..1.
        scores: ``AUC``, ``PR`` and ``NPR`` in percent.
        by_attribute: attribute -> scores over the sequences that have it.
    """

    name: str
    per_sequence: dict[str, dict[str, np.ndarray]]
    mean: dict[str, np.ndarray]
    scores: dict[str, float]
    by_attribute: dict[str, dict[str, float]]


def find_trackers(
    folders: Sequence[str | os.PathLike], sequences: Sequence[str]
) -> dict[str, Path]:
    """Return tracker name -> folder with its result files ``SEQ.txt``.

    A tracker has the name of its folder, after the names of the folders above it if two folders
    have the same name.

    Args:
        folders: folders of single trackers, or folders that contain such folders at any depth, for
            example the official ``RESULTS/TRACKER/CONFIG``.
        sequences: names of the sequences of the benchmark.

    Raises:
        FileNotFoundError: a folder has no result files.
        ValueError: a folder is given twice.
    """
    found: list[Path] = []
    wanted = {f'{name}.txt' for name in sequences}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise FileNotFoundError(f'{folder}: the folder of results does not exist')
        some = sorted(
            Path(place)
            for place, _, files in os.walk(folder, followlinks=True)
            if wanted & set(files)
        )
        if not some:
            there = sorted(entry.name for entry in folder.iterdir())[:5]
            raise FileNotFoundError(
                f'{folder}: the folder and its subfolders have no result file of the benchmark; '
                f'expected names such as {sorted(wanted)[0]}, found {there}'
            )
        found += some[:1] if some[0] == folder else some
    real = [place.resolve() for place in found]
    if len(set(real)) < len(real):
        twice = next(place for place in real if real.count(place) > 1)
        raise ValueError(f'{twice}: this folder of results is given twice')
    places = [Path(os.path.abspath(place)) for place in found]
    for depth in range(1, max(len(place.parts) for place in places) + 1):
        names = ['/'.join(place.parts[-depth:]) for place in places]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, found))


def judge_results(
    folder: str | os.PathLike,
    annotations: Mapping[str, Annotated],
    rules: TrackingRules = RULES['toolkit'],
    partial: bool = False,
    tracker: str | None = None,
) -> TrackerResult:
    """Read the result files of one tracker and compare them with the annotation.

    Args:
        folder: folder with a ``SEQ.txt`` per sequence: x, y, w, h per row, separated by commas,
            tabs or blanks.
        annotations: sequence -> annotation.
        rules: rules of the benchmark; ``'toolkit'`` by default.
        partial: whether to evaluate only the sequences that have a file; False (default) raises an
            error if files are missing.
        tracker: name of the tracker; None (default) takes the name of the folder.

    Raises:
        FileNotFoundError: files are missing.
        ValueError: a file cannot be compared; the message names it.
    """
    folder = Path(folder)
    there = [name for name in annotations if (folder / f'{name}.txt').is_file()]
    missing = [name for name in annotations if name not in set(there)]
    if missing and not (partial and there):
        raise FileNotFoundError(
            f'{folder}: {len(missing)} of {len(annotations)} result files are missing, for '
            f'example {", ".join(f"{name}.txt" for name in missing[:3])}'
        )
    found = {}
    for name in there:
        file = folder / f'{name}.txt'
        errors = sequence_errors(
            read_boxes(file), annotations[name].boxes, annotations[name].absent, rules, str(file)
        )
        found[name] = curves(errors, rules)
    mean = mean_curves(list(found.values()), rules)
    attributes = sorted({a for name in found for a in annotations[name].attributes})
    by_attribute = {
        attribute: scores(
            mean_curves(
                [found[name] for name in found if attribute in annotations[name].attributes], rules
            )
        )
        for attribute in attributes
    }
    return TrackerResult(tracker or folder.name, found, mean, scores(mean), by_attribute)


def score_table(results: Sequence[TrackerResult]) -> str:
    """Return Markdown tables of the scores of all trackers, best AUC first, and per attribute."""
    ranked = sorted(results, key=lambda result: -result.scores['AUC'])
    lines = ['| tracker | sequences | AUC | PR | NPR |', '|---|---|---|---|---|']
    lines += [
        f'| {r.name} | {len(r.per_sequence)} | '
        + ' | '.join(f'{r.scores[key]:.2f}' for key in ('AUC', 'PR', 'NPR'))
        + ' |'
        for r in ranked
    ]
    attributes = sorted({attribute for result in ranked for attribute in result.by_attribute})
    if attributes:
        lines += [
            '',
            '| AUC / PR | ' + ' | '.join(attributes) + ' |',
            '|---' * (len(attributes) + 1) + '|',
        ]
        for result in ranked:
            cells = [result.by_attribute.get(attribute) for attribute in attributes]
            lines.append(
                f'| {result.name} | '
                + ' | '.join(
                    '-' if cell is None else f'{cell["AUC"]:.1f} / {cell["PR"]:.1f}'
                    for cell in cells
                )
                + ' |'
            )
    return '\n'.join(lines)
