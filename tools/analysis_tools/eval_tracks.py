"""Evaluate result files of trackers.

    python tools/analysis_tools/eval_tracks.py RESULTS [RESULTS ...] DATASET

RESULTS is a folder with a SEQ.txt per sequence (x, y, w, h per row), or a folder of such folders,
one per tracker. DATASET is the annotation folder of an evaluation toolkit (gt_rect/, absent/,
att/), or the root of a benchmark, with --layout.
"""

import argparse
import json
from pathlib import Path

from mmbsa.datasets.tracking.layouts import (
    LAYOUTS,
    PRESENT_IS,
    listed,
    read_annotation,
    read_names,
    toolkit_annotations,
)
from mmbsa.evaluation import RULES, THRESHOLDS, get_rules
from mmbsa.evaluation.tracking_results import (
    TrackerResult,
    find_trackers,
    judge_results,
    score_table,
)
from mmbsa.utils.files import atomic_open
from mmbsa.visualization.tracking_plots import plot_tracks


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate result files of trackers')
    parser.add_argument('results', nargs='+', help='folders of result files')
    parser.add_argument('dataset', help="a toolkit's annotation folder, or the root of a benchmark")
    parser.add_argument(
        '--layout', choices=list(LAYOUTS), help='layout of DATASET; not for a toolkit folder'
    )
    parser.add_argument(
        '--split', help='split of DATASET, needs --layout; default: test', metavar='NAME'
    )
    parser.add_argument(
        '--toolkit',
        metavar='DIR',
        help='folder with absent/ and att/, in addition to DATASET; needs --layout',
    )
    parser.add_argument(
        '--absent',
        choices=list(PRESENT_IS),
        help='what 1 means in absent.txt or absent/NAME.txt; default: present for COESOT, '
        'otherwise absent',
    )
    parser.add_argument(
        '--sequences', help='text file with the sequences to evaluate, one name per line'
    )
    parser.add_argument(
        '--rules', choices=list(RULES), default='toolkit', help='rules of the comparison'
    )
    parser.add_argument(
        '--partial', action='store_true', help='evaluate folders in which result files are missing'
    )
    parser.add_argument('--out', metavar='DIR', help='folder for plots.png and scores.json')
    return parser.parse_args()


def read_annotations(args: argparse.Namespace) -> dict:
    if args.layout is None:
        for option in ('toolkit', 'split'):
            if getattr(args, option) is not None:
                raise ValueError(
                    f'--{option} {getattr(args, option)} needs --layout; without it, DATASET '
                    f'{args.dataset} is itself the annotation folder of a toolkit'
                )
        names = None if args.sequences is None else read_names(args.sequences)
        found = toolkit_annotations(args.dataset, args.absent)
        if names is not None:
            missing = [name for name in names if name not in found]
            if missing:
                raise FileNotFoundError(
                    f'{args.dataset}/gt_rect has no {missing[0]}.txt, which {args.sequences} names'
                )
            found = {name: found[name] for name in names}
        return found
    place = (args.layout, args.dataset, args.split or 'test')
    return {
        name: read_annotation(*place, name, args.toolkit, args.absent)
        for name in listed(args.sequences, *place)
    }


def write_files(out: Path, results: list[TrackerResult], args: argparse.Namespace, count: int):
    curves, scores = ({r.name: getattr(r, key) for r in results} for key in ('mean', 'scores'))
    plot_tracks(out / 'plots.png', curves, scores, THRESHOLDS, Path(args.dataset).name)
    summary = {
        r.name: dict(
            scores=r.scores,
            by_attribute=r.by_attribute,
            curves={key: curve.tolist() for key, curve in r.mean.items()},
        )
        for r in results
    }
    text = json.dumps(dict(rules=args.rules, sequences=count, trackers=summary), indent=1)
    with atomic_open(out / 'scores.json') as file:
        file.write(text.encode())


def main() -> None:
    args = parse_args()
    out = None if args.out is None else Path(args.out)
    try:
        if out is not None and out.exists() and not out.is_dir():
            raise ValueError(f'--out {out} is a file, expected a folder')
        annotations = read_annotations(args)
        trackers = find_trackers(args.results, list(annotations))
        results = [
            judge_results(folder, annotations, get_rules(args.rules), args.partial, name)
            for name, folder in trackers.items()
        ]
        if out is not None:
            write_files(out, results, args, len(annotations))
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None
    print(score_table(results))


if __name__ == '__main__':
    main()
