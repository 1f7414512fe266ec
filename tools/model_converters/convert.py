"""Convert an official checkpoint file to a checkpoint of mmbsa.

    python tools/model_converters/convert.py sdt_v3_cls V3_10.0M_1x4.pth espikeformer-m.pth

The result can be used as ``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')``
of a backbone, and as the checkpoint of the whole model.
"""

import argparse
import ast
import os

import torch

from mmbsa.converters import RECIPES, build_from_official
from mmbsa.utils.checkpoint import load_checkpoint_file, state_dicts
from mmbsa.utils.files import atomic_open, check_output


def read(path: str) -> dict[str, torch.Tensor]:
    """Load tensors from the usual containers, without ``module.`` prefixes."""
    with torch.serialization.safe_globals(
        [argparse.Namespace]
    ):  # official training scripts store their arguments
        checkpoint = load_checkpoint_file(path, 'cpu')
    state = next((state for _, state in state_dicts(checkpoint)), {})
    return {key.removeprefix('module.'): value for key, value in state.items()}


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'source', choices=sorted(RECIPES), help='official implementation of the checkpoint'
    )
    parser.add_argument('input', help='official checkpoint')
    parser.add_argument('output', help='file to write')
    parser.add_argument(
        '--args',
        nargs='*',
        default=[],
        metavar='KEY=VALUE',
        help='constructor arguments that shapes do not determine, e.g. num_heads=8 T=4',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        check_output(args.output, args.input, option='output')
    except ValueError as error:
        raise SystemExit(f'error: {error}') from None
    given = {}
    for item in args.args:
        key, _, value = item.partition('=')
        try:
            given[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            given[key] = value
    model = build_from_official(args.source, read(args.input), **given)
    report = model.conversion_report
    checkpoint = dict(
        state_dict=model.state_dict(),
        meta=dict(
            converted_from=os.path.basename(args.input),
            source=args.source,
            model=repr(report.config),
        ),
    )
    with atomic_open(args.output) as file:
        torch.save(checkpoint, file)
    print(report)
    print(f'config: {report.config}')
    print(f'wrote {args.output}')


if __name__ == '__main__':
    main()
