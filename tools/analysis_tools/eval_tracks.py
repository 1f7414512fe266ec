"""Evaluate result files of trackers.

    python tools/analysis_tools/eval_tracks.py RESULTS [RESULTS ...] DATASET

RESULTS is a folder with a SEQ.txt per sequence (x, y, w, h per row), or a folder of such folders,
one per tracker. DATASET is the annotation folder of an evaluation toolkit (gt_rect/, absent/,
att/), or the root of a benchmark, with --layout.
"""

import argparse
import json
from pathlib import Path

from mmbsa.datasets.tracking.layouts import LAYOUTS, listed, read_annotation, toolkit_annotations
from mmbsa.evaluation import RULES, THRESHOLDS, get_rules
from mmbsa.evaluation.tracking_results import find_trackers, judge_results, score_table
from mmbsa.utils.files import atomic_open
from mmbsa.visualization.tracking_plots import plot_tracks


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate result files of trackers')
    parser.add_argument('results', nargs='+', help='folders of result files')
    parser.add_argument('dataset', help="a toolkit's annotation folder, or the root of a benchmark")
    parser.add_argument(
        '--layout', choices=list(LAYOUTS), help='layout of DATASET; not for a toolkit folder'
    )
    parser.add_argument('--split', default='test', help='split of DATASET')
    parser.add_argument(
        '--toolkit', help='folder with absent/ and att/, in addition to the annotation of DATASET'
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
        found = toolkit_annotations(args.dataset)
        if args.sequences:
            names = Path(args.sequences).read_text().split()
            missing = [name for name in names if name not in found]
            if missing:
                raise FileNotFoundError(
                    f'{args.dataset}/gt_rect has no {missing[0]}.txt, which {args.sequences} names'
                )
            found = {name: found[name] for name in names}
        return found
    names = listed(args.sequences, args.layout, args.dataset, args.split)
    return {
        name: read_annotation(args.layout, args.dataset, args.split, name, args.toolkit)
        for name in names
    }


def main() -> None:
    args = parse_args()
    try:
        annotations = read_annotations(args)
        trackers = find_trackers(args.results, list(annotations))
        results = [
            judge_results(folder, annotations, get_rules(args.rules), args.partial)
            for folder in trackers.values()
        ]
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None
    print(score_table(results))
    if args.out:
        curves, scores = ({r.name: getattr(r, key) for r in results} for key in ('mean', 'scores'))
        plot_tracks(
            Path(args.out) / 'plots.png', curves, scores, THRESHOLDS, Path(args.dataset).name
        )
        summary = {
            r.name: dict(
                scores=r.scores,
                by_attribute=r.by_attribute,
                curves={key: curve.tolist() for key, curve in r.mean.items()},
            )
            for r in results
        }
        with atomic_open(Path(args.out) / 'scores.json') as file:
            file.write(
                json.dumps(
                    dict(rules=args.rules, sequences=len(annotations), trackers=summary), indent=1
                ).encode()
            )


if __name__ == '__main__':
    main()
