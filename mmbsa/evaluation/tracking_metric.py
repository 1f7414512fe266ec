"""Metric of the tracking runs: success, precision and normalised precision."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmbsa.evaluation.tracking_rules import (
    RULES,
    TrackingRules,
    curves,
    mean_curves,
    scores,
    sequence_errors,
)
from mmbsa.registry import METRICS
from mmbsa.structures.track_files import write_result, write_times


def get_rules(rules: str | Mapping = 'toolkit') -> TrackingRules:
    """Return tracking rules by name, or from a dict.

    Args:
        rules: name of the rules, ``'toolkit'`` by default, or a dict with a ``base`` and the fields
            of :class:`TrackingRules` that differ.

    Raises:
        ValueError: the name or a field is unknown.
    """
    changes = dict(rules) if isinstance(rules, Mapping) else {}
    name = changes.pop('base', 'toolkit') if isinstance(rules, Mapping) else rules
    if name not in RULES:
        raise ValueError(f'rules must be one of {", ".join(RULES)}, got {name!r}')
    known = [field.name for field in fields(TrackingRules)]
    if set(changes) - set(known):
        raise ValueError(
            f'rules has the unknown fields {sorted(set(changes) - set(known))}; there are '
            f'{", ".join(known)}'
        )
    return replace(RULES[name], **changes)


@METRICS.register_module()
class TrackingMetric(BaseMetric):
    """Success AUC, precision and normalised precision of one-pass evaluation.

    ``AUC`` is the mean of the success curve over 21 overlap thresholds. ``PR`` is the share of
    frames with a centre error of at most 20 pixels, ``NPR`` the same at 0.2 sides of the annotated
    box. All are in percent.

    Args:
        rules: ``'toolkit'`` (default; the MATLAB toolkits of FE108 and VisEvent, also used for FELT
            and COESOT), ``'python'`` or ``'python_visible'`` (the code in the SDTrack repository
            without and with ``target_visible``), or a dict such as ``dict(base='toolkit',
            success_inclusive=True)``.
        truncate: whether the boxes are truncated to integers before they are compared, as in the
            official result files; False by default. The configs of the published protocol set it.
        output_dir: folder for result files in the official format, ``SEQ.txt`` with boxes and
            ``SEQ_time.txt`` with seconds per frame, which are written together after the last
            sequence; None (default) writes none.
        attributes: whether to report every attribute too, as ``track/<attribute>/AUC`` and so on;
            False by default.
        collect_device, prefix: arguments of mmengine's ``BaseMetric``; keys begin with ``track/``.
    """

    default_prefix = 'track'

    def __init__(
        self,
        rules: str | dict = 'toolkit',
        truncate: bool = False,
        output_dir: str | None = None,
        attributes: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.rules = get_rules(rules)
        self.truncate, self.output_dir = truncate, output_dir
        self.attributes = attributes

    def process(self, data_batch, data_samples: Sequence) -> None:
        """Store the curves of tracked sequences.

        Args:
            data_batch: not used.
            data_samples: :class:`TrackDataSample` or their dicts.

        Raises:
            ValueError: boxes and annotation do not match, or, with ``output_dir``, a predicted box
                is not finite.
        """
        for sample in data_samples:
            sample = sample if isinstance(sample, dict) else sample.to_dict()
            name = sample['sequence']
            result, gt = (np.asarray(sample[key], np.float64) for key in ('pred_boxes', 'gt_boxes'))
            if self.output_dir is not None and not np.isfinite(result).all():
                row = int(np.flatnonzero(~np.isfinite(result).all(1))[0])
                raise ValueError(
                    f'{name}: row {row} (from 0) of the predicted boxes is not finite: '
                    f'{result[row].tolist()}; a result file cannot contain it'
                )
            result = np.trunc(result) if self.truncate else result
            errors = sequence_errors(result, gt, np.asarray(sample['absent']), self.rules, name)
            seconds = np.asarray(sample['seconds'] if 'seconds' in sample else [], np.float64)
            self.results.append(
                dict(
                    name=name,
                    curves=curves(errors, self.rules),
                    frames=len(gt),
                    steps=int((seconds[1:] > 0).sum()),
                    seconds=float(seconds[1:].sum()),
                    attributes=tuple(sample.get('attributes') or ()),
                    files=None if self.output_dir is None else (result, seconds),
                )
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return ``AUC``, ``PR``, ``NPR`` in percent, and ``fps`` if times are known.

        It also writes the files of ``output_dir``.
        """
        if not results:
            raise ValueError('TrackingMetric: no sequence was tracked')
        found = scores(mean_curves([r['curves'] for r in results], self.rules))
        seconds = sum(result['seconds'] for result in results)
        if seconds:
            found['fps'] = sum(result['steps'] for result in results) / seconds
        if self.attributes:
            found.update(self._by_attribute(results))
        for result in results if self.output_dir is not None else ():
            boxes, seconds = result['files']
            write_result(Path(self.output_dir) / f'{result["name"]}.txt', boxes)
            if len(seconds):
                write_times(Path(self.output_dir) / f'{result["name"]}_time.txt', seconds)
        print_log(
            f'{len(results)} sequences, {sum(r["frames"] for r in results)} frames', 'current'
        )
        return found

    def _by_attribute(self, results: list) -> dict[str, float]:
        found = {}
        for attribute in sorted({a for result in results for a in result['attributes']}):
            chosen = [r['curves'] for r in results if attribute in r['attributes']]
            for key, value in scores(mean_curves(chosen, self.rules)).items():
                found[f'{attribute}/{key}'] = value
        return found
