"""Success, precision and normalised precision of tracking by the rules of a benchmark.

All functions are pure functions of arrays. Benchmarks have the same three curves, but treat
unusable rows differently; :class:`TrackingRules` names each difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CURVES = ('success', 'precision', 'norm_precision')


@dataclass(frozen=True)
class TrackingRules:
    """Rules of a benchmark for annotations or results that cannot be compared directly.

    Attributes:
        usable: an annotation row counts if all of x, y, w, h are > 0 (``'box'``), or if w and h are
            (``'size'``). The overlap of other rows is -1, a miss.
        unusable_error: centre error of such rows in pixels: -1 is a hit at every threshold, inf at
            none.
        unusable_norm_error: the same for the normalised error.
        absent: frames that are annotated as absent are not counted as hits (``'drop'``), count as
            not usable (``'unusable'``), or count as all others (``'keep'``).
        divide_by_usable: whether to divide by the usable frames instead of all frames.
        success_inclusive: whether success is overlap >= threshold instead of >.
        precision_inclusive: whether precision is error <= threshold instead of <.
        repair: result rows that are replaced by the previous row: rows with NaN or without positive
            size (``'invalid'``), with a side of exactly 0 (``'zero'``; negative or NaN rows raise
            an error), or ``'none'``.
        first_frame_given: whether the annotation replaces the first result row.
        pad_short: whether results shorter than the annotation are padded with zeros; otherwise they
            raise an error.
        drop_zero_curves: whether the mean of a curve excludes sequences whose curve is all zero.
        single_precision: whether curves are float32.
    """

    usable: str = 'box'
    unusable_error: float = -1.0
    unusable_norm_error: float = -1.0
    absent: str = 'drop'
    divide_by_usable: bool = False
    success_inclusive: bool = False
    precision_inclusive: bool = True
    repair: str = 'invalid'
    first_frame_given: bool = True
    pad_short: bool = False
    drop_zero_curves: bool = True
    single_precision: bool = False

    def __post_init__(self) -> None:
        allowed = dict(
            usable=('box', 'size'),
            absent=('drop', 'unusable', 'keep'),
            repair=('invalid', 'zero', 'none'),
        )
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f'TrackingRules: {name} must be one of {values}, got {getattr(self, name)!r}'
                )


#: rules by name: the MATLAB toolkits of FE108 and VisEvent, and the code in the SDTrack repository.
RULES: dict[str, TrackingRules] = {
    'toolkit': TrackingRules(),
    'python': TrackingRules(
        usable='size',
        unusable_error=np.inf,
        absent='keep',
        repair='zero',
        pad_short=True,
        drop_zero_curves=False,
        single_precision=True,
    ),
    'python_visible': TrackingRules(
        usable='size',
        unusable_error=np.inf,
        absent='unusable',
        divide_by_usable=True,
        repair='zero',
        pad_short=True,
        drop_zero_curves=False,
        single_precision=True,
    ),
}


def matlab_range(stop: float, steps: int) -> np.ndarray:
    """Return MATLAB's 0:stop/steps:stop.

    It is computed from both ends, so that the rounding is symmetric.

    Args:
        stop: last value.
        steps: number of steps.
    """
    step = stop / steps
    index = np.arange(steps + 1)
    return np.where(index <= steps // 2, index * step, stop - (steps - index) * step)


#: thresholds of the curves: overlap, pixels, sides of the annotated box.
THRESHOLDS = dict(
    success=matlab_range(1.0, 20), precision=np.arange(51.0), norm_precision=matlab_range(0.5, 50)
)


@dataclass(frozen=True)
class SequenceErrors:
    """Errors of the counted frames: overlap, centre error in pixels and in box sides.

    ``length`` is the divisor of the curves.
    """

    overlap: np.ndarray
    centre_error: np.ndarray
    norm_error: np.ndarray
    length: int


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union of boxes (N, 4) and (N, 4), x, y, w, h.

    Right and lower edges are the last pixel inside (x + w - 1), as in the toolkits. The
    intersection adds the 1 again, so the value equals that of plain boxes up to rounding.

    Args:
        a, b: boxes (N, 4), x, y, w, h in pixels.
    """
    low = np.maximum(a[:, :2], b[:, :2])
    high = np.minimum(a[:, :2] + a[:, 2:] - 1, b[:, :2] + b[:, 2:] - 1)
    inside = np.maximum(high - low + 1, 0).prod(1)
    with np.errstate(divide='ignore', invalid='ignore'):
        return inside / (a[:, 2:].prod(1) + b[:, 2:].prod(1) - inside)


def centre_errors(a: np.ndarray, b: np.ndarray, sides: np.ndarray | float = 1.0) -> np.ndarray:
    """Return distances of the centres of boxes (N, 4) and (N, 4), per axis divided by ``sides``.

    Args:
        a, b: boxes (N, 4), x, y, w, h in pixels.
        sides: divisor per axis, (N, 2) or one number; 1 by default (pixels).
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        first, second = ((box[:, :2] + (box[:, 2:] - 1) / 2) / sides for box in (a, b))
        return np.sqrt(((first - second) ** 2).sum(1))


def repair_result(
    result: np.ndarray, gt: np.ndarray, rules: TrackingRules, name: str = 'the sequence'
) -> np.ndarray:
    """Return a result (M, 4) with one comparable row per annotated frame (N, 4).

    Args:
        result: (M, 4) x, y, w, h.
        gt: annotation (N, 4).
        rules: rules of the benchmark.
        name: name of the sequence, for messages.

    Raises:
        ValueError: there are too few rows, or rows that the rules do not allow.
    """
    result = np.array(result, np.float64).reshape(-1, 4)[: len(gt)]
    missing = len(gt) - len(result)
    if missing and not rules.pad_short:
        raise ValueError(f'{name}: the result has {len(result)} rows, the annotation {len(gt)}')
    if rules.repair == 'zero' and (np.isnan(result).any() or (result[:, 2:] < 0).any()):
        rows = np.flatnonzero(np.isnan(result).any(1) | (result[:, 2:] < 0).any(1))
        raise ValueError(
            f'{name}: rows {rows[:8].tolist()} (from 0) of the result are NaN or have a '
            'negative size, which these rules do not allow'
        )
    if rules.repair != 'none':
        bad = (
            (result[:, 2:] == 0).any(1)
            if rules.repair == 'zero'
            else (np.isnan(result).any(1) | ~(result[:, 2:] > 0).all(1))
        )
        bad &= ~np.isnan(gt[: len(result)]).any(1)
        bad[:1] = False
        source = np.maximum.accumulate(np.where(bad, 0, np.arange(len(result))))
        result = result[source]
    if missing:
        result = np.concatenate([result, np.zeros((missing, 4))])
    if rules.first_frame_given:
        result[:1] = gt[:1]
    return result


def sequence_errors(
    result: np.ndarray,
    gt: np.ndarray,
    absent: np.ndarray | None = None,
    rules: TrackingRules = RULES['toolkit'],
    name: str = 'the sequence',
) -> SequenceErrors:
    """Return the errors of one sequence.

    Args:
        result: (M, 4) x, y, w, h.
        gt: annotation (N, 4).
        absent: (N,) true if the target is annotated as absent; None (default) means never.
        rules: rules of the benchmark; ``'toolkit'`` by default.
        name: name of the sequence, for messages.

    Raises:
        ValueError: as in :func:`repair_result`, or ``absent`` has another length.
    """
    gt = np.asarray(gt, np.float64).reshape(-1, 4)
    absent = np.zeros(len(gt), bool) if absent is None else np.asarray(absent).astype(bool)
    if len(absent) != len(gt):
        raise ValueError(f'{name}: absent has {len(absent)} rows, the annotation {len(gt)}')
    result = repair_result(result, gt, rules, name)
    usable = (gt > 0).all(1) if rules.usable == 'box' else (gt[:, 2:] > 0).all(1)
    if rules.absent == 'unusable':
        usable &= ~absent
    errors = [
        np.where(usable, values, instead)
        for values, instead in (
            (overlaps(result, gt), -1.0),
            (centre_errors(result, gt), rules.unusable_error),
            (centre_errors(result, gt, gt[:, 2:]), rules.unusable_norm_error),
        )
    ]
    if rules.absent == 'drop':
        errors = [values[~absent] for values in errors]
    return SequenceErrors(*errors, int(usable.sum()) if rules.divide_by_usable else len(gt))


def curves(
    errors: SequenceErrors, rules: TrackingRules = RULES['toolkit']
) -> dict[str, np.ndarray]:
    """Return the share of frames per threshold.

    The curves are success (21,), precision (51,) and norm_precision (51,).

    Args:
        errors: errors of one sequence.
        rules: rules of the benchmark; ``'toolkit'`` by default.
    """
    above = np.greater_equal if rules.success_inclusive else np.greater
    below = np.less_equal if rules.precision_inclusive else np.less
    counts = dict(
        success=above(errors.overlap[:, None], THRESHOLDS['success']).sum(0),
        precision=below(errors.centre_error[:, None], THRESHOLDS['precision']).sum(0),
        norm_precision=below(errors.norm_error[:, None], THRESHOLDS['norm_precision']).sum(0),
    )
    dtype = np.float32 if rules.single_precision else np.float64
    return {name: (count / max(errors.length, 1)).astype(dtype) for name, count in counts.items()}


def mean_curves(
    per_sequence: Sequence[Mapping[str, np.ndarray]], rules: TrackingRules = RULES['toolkit']
) -> dict[str, np.ndarray]:
    """Return the mean curves over sequences, as shares; zeros if no sequence counts.

    Args:
        per_sequence: the curves of every sequence.
        rules: rules of the benchmark; ``'toolkit'`` by default.
    """
    means = {}
    for name in CURVES:
        stacked = np.stack([curve[name] for curve in per_sequence])
        if rules.drop_zero_curves:
            stacked = stacked[stacked.any(1)]
        means[name] = stacked.mean(0) if len(stacked) else np.zeros(len(THRESHOLDS[name]))
    return means


def scores(mean: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return AUC, PR and NPR in percent.

    AUC is the mean of the success curve, PR the precision at 20 pixels, NPR the normalised
    precision at 0.2 sides.

    Args:
        mean: the mean curves, as shares.
    """
    return dict(
        AUC=100 * float(mean['success'].mean()),
        PR=100 * float(mean['precision'][20]),
        NPR=100 * float(mean['norm_precision'][20]),
    )
