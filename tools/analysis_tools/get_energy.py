"""Count operations and energy of a model of any task on real inputs, layer by layer.

    python tools/analysis_tools/get_energy.py CONFIG [CHECKPOINT] --input photos \\
        --twin --cost step --out DIR

Without ``--input`` the test set of the config is used. ``--out`` is the folder of ``report.json``
(all inputs of the formulas), ``layers.csv``, ``energy.md``, ``audit.md``, plots, and
``report.html`` with all of them. Without a checkpoint the weights are random, and the firing rates
and the energy are not those of a trained model; ``--calibrate`` sets at least the statistics of
norms from the inputs.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.utils import ProgressBar
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbsa.energy.account import Energy, energy, markdown
from mmbsa.energy.audit import audit, summary
from mmbsa.energy.audit import markdown as audit_markdown
from mmbsa.energy.compare import Comparison
from mmbsa.energy.costs import cost_table
from mmbsa.energy.counter import refuse_compiled
from mmbsa.energy.report import with_merged_convolutions
from mmbsa.energy.twin import quantised_twin
from mmbsa.energy.watch import Watcher
from mmbsa.utils.checkpoint import load_checkpoint_file
from mmbsa.utils.files import atomic_open
from mmbsa.utils.launch import fill_in, read_config
from mmbsa.utils.listing import visible_files
from mmbsa.utils.page import html_from_markdown, html_image, html_page
from mmbsa.utils.types import type_name

ENDINGS = {'.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp'}
#: entries of checkpoints that inference does not need.
TRAINING_ONLY = ('auxiliary_head.', 'teacher.', 'head.teacher.')


class ToolError(Exception):
    """Error in the input of the user."""


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, help='config of any task')
    parser.add_argument('checkpoint', type=Path, nargs='?', help='weights; default: random')
    parser.add_argument(
        '--input', type=Path, help='picture, or folder that is searched with its subfolders'
    )
    parser.add_argument(
        '--images', type=int, default=8, metavar='N', help='largest number of inputs; default 8'
    )
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('H', 'W'), help='resize pictures first'
    )
    parser.add_argument(
        '--cost', default='field', help="preset or JSON file of unit costs; default 'field'"
    )
    parser.add_argument(
        '--twin', action='store_true', help='count the quantised twin on the same inputs too'
    )
    parser.add_argument(
        '--w-bits', type=int, default=8, help="bits of the twin's weights; default 8"
    )
    parser.add_argument(
        '--a-bits',
        type=int,
        help="bits of the twin's activations; default: as many levels as the neurons",
    )
    parser.add_argument(
        '--calibrate',
        action='store_true',
        help='first set the statistics of batch norms from the inputs',
    )
    parser.add_argument(
        '--merge',
        action='store_true',
        help='count each RepConv chain as one convolution, as on neuromorphic hardware',
    )
    parser.add_argument('--strict', action='store_true', help='stop at an op without a rule')
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder of the reports')
    parser.add_argument('--device', default='cuda:0' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override the config, key=value'
    )
    return parser.parse_args(argv)


def build(cfg: Config, checkpoint: Path | None, device: str) -> nn.Module:
    """Build the model of a config in evaluation mode, with the weights of a checkpoint.

    Raises:
        ToolError: the checkpoint cannot be read, or is from another model.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    fill_in(cfg)
    for key in ('pretrained', 'auxiliary_head'):
        cfg.model.pop(key, None)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    if checkpoint is not None:
        _load(model, checkpoint)
    return model.to(device).eval()


def _load(model: nn.Module, path: Path) -> None:
    try:
        state = load_checkpoint_file(path, 'cpu')
    except Exception as error:
        raise ToolError(f'{path}: {error}') from error
    state = state.get('state_dict', state) if isinstance(state, dict) else {}
    own = model.state_dict()
    missing = sorted(set(own) - set(state))
    extra = sorted(key for key in set(state) - set(own) if not key.startswith(TRAINING_ONLY))
    shapes = sorted(key for key in set(own) & set(state) if own[key].shape != state[key].shape)
    if missing or extra or shapes:
        found = [
            f'{len(keys)} {what} ({", ".join(keys[:3])}{", ..." if len(keys) > 3 else ""})'
            for what, keys in (
                ('missing', missing),
                ('unexpected', extra),
                ('of other shapes', shapes),
            )
            if keys
        ]
        raise ToolError(
            f'{path} is from another model than the config: of {len(own)} tensors '
            f'{"; ".join(found)}'
        )
    model.load_state_dict({key: state[key] for key in own})


def inputs(cfg: Config, args: argparse.Namespace) -> tuple[int, Iterable[Any]]:
    """Return the number of inputs, and batches of one for the model's ``test_step``.

    Raises:
        ToolError: a file or the test set does not exist, or the folder is empty.
    """
    if args.images < 1:
        raise ToolError(f'--images must be at least 1, got {args.images}')
    if args.input is None:
        return _of_dataset(cfg, args.images)
    if not args.input.exists():
        raise ToolError(f'--input {args.input} does not exist')
    paths = (
        [args.input] if args.input.is_file() else visible_files(args.input, ENDINGS, recursive=True)
    )
    if not paths:
        raise ToolError(
            f'--input {args.input} has no picture (searched for {", ".join(sorted(ENDINGS))})'
        )
    step = max(
        1, len(paths) // args.images
    )  # spread over the folder, which is often sorted by class
    paths = paths[::step][: args.images]
    pipeline = _picture_pipeline(cfg, args.size)
    return len(paths), (
        pseudo_collate([pipeline(dict(img_path=str(path), img_id=index, seg_fields=[]))])
        for index, path in enumerate(paths)
    )


def _of_dataset(cfg: Config, images: int) -> tuple[int, Iterable[Any]]:
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    if not loader:
        raise ToolError('the config has no test set: set a folder with --input')
    try:
        dataset = DATASETS.build(deepcopy(loader.dataset))
        count = min(images, len(dataset))
    except (OSError, ValueError, RuntimeError, AssertionError) as error:
        raise ToolError(
            f'the test set of the config cannot be read ({error}); set a folder with --input'
        ) from error
    if not count:
        raise ToolError('the test set of the config is empty: set a folder with --input')
    step = max(1, len(dataset) // count)
    return count, (pseudo_collate([dataset[index * step]]) for index in range(count))


def _picture_pipeline(cfg: Config, size: list[int] | None) -> Compose:
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}
    steps = deepcopy(cfg.get('test_pipeline') or loader.get('dataset', {}).get('pipeline') or [])
    # the channels are those of the config's loading step
    first = [step for step in steps if type_name(step) == 'LoadImageFromFile'][:1]
    first = first or [dict(type='LoadImageFromFile')]
    steps = [step for step in steps if not type_name(step).startswith('Load')]
    if not steps:
        raise ToolError('the config has no test pipeline, so pictures cannot be prepared')
    if size:
        first.append(dict(type='mmcv.Resize', scale=(size[1], size[0]), keep_ratio=False))
    for step in steps:
        if (
            type_name(step).endswith('Inputs')
            and 'meta_keys' not in step
            and 'mmpretrain' in str(cfg.get('default_scope'))
        ):
            step['meta_keys'] = ('img_path', 'ori_shape', 'img_shape')
    return Compose(first + steps)


def run(
    model: nn.Module, batches: Iterable[Any], bar: ProgressBar | None, watcher: Watcher | None
) -> None:
    """Predict every batch; a watcher counts the operations."""
    for data in batches:
        with torch.no_grad():
            if watcher is None:
                model.test_step(data)
            else:
                with watcher.batch(data):
                    model.test_step(data)
        if bar is not None:
            bar.update()


def calibrate(model: nn.Module, batches: Iterable[Any]) -> None:
    """Set mean and variance of all batch norms from the inputs."""
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    run(model, batches, None, None)
    for norm in norms:
        norm.eval()


def write(folder: Path, result: Energy, comparison: Comparison | None) -> list[str]:
    """Write all files of the report, and return their names."""
    report, findings = result.report, audit(result.report)
    text = markdown(result) + (f'\n## Twins\n\n{comparison.markdown()}' if comparison else '')
    content = dict(
        energy=result.as_dict(),
        report=report.as_dict(),
        twins=comparison.as_dict() if comparison else None,
    )
    files = {
        'report.json': json.dumps(content, indent=1),
        'layers.csv': report.csv(),
        'energy.md': text,
        'audit.md': f'{summary(findings)}\n\n{audit_markdown(findings)}',
    }
    for name, body in files.items():
        with atomic_open(folder / name) as file:
            file.write(body.encode())
    from mmbsa.energy.plots import bars, over_rate

    files['components.png'] = bars(
        comparison.accounts if comparison else {'network': result}, folder / 'components.png'
    )
    if comparison and report.rate:
        files['rates.png'] = over_rate(comparison, folder / 'rates.png')
    pictures = [
        html_image(name, files[name].read_bytes()) for name in files if name.endswith('png')
    ]
    parts = [html_from_markdown(text), *pictures, '<h2>Audit</h2>']
    parts.append(html_from_markdown(files['audit.md']))
    with atomic_open(folder / 'report.html') as file:
        file.write(html_page(f'Energy of {report.model}', parts).encode())
    return [*files, 'report.html']


def main(argv=None) -> int:
    args = parse_args(argv)
    try:
        for path in (args.config, args.checkpoint):
            if path is not None and not path.is_file():
                raise ToolError(f'{path} does not exist')
        cost = cost_table(args.cost)
        cfg = read_config(args.config)
        if args.cfg_options is not None:
            cfg.merge_from_dict(args.cfg_options)
        model = build(cfg, args.checkpoint, args.device)
        refuse_compiled(model)
        if args.calibrate:
            calibrate(model, inputs(cfg, args)[1])
        if args.merge:
            model = with_merged_convolutions(model)
        twin = quantised_twin(model, args.w_bits, args.a_bits) if args.twin else None
        count, batches = inputs(cfg, args)
        bar = ProgressBar(count * (2 if twin is not None else 1))
        watcher = Watcher(model, strict=args.strict)
        run(model, batches, bar, watcher)
        result = energy(watcher.report, cost)
        comparison = None
        if twin is not None:
            other = Watcher(twin, strict=args.strict)
            run(twin, inputs(cfg, args)[1], bar, other)
            comparison = Comparison(watcher.report, other.report, cost, args.w_bits)
    except (ToolError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print()
    if args.checkpoint is None:
        print('weights are random: rates and energy are not those of a trained model')
    print(markdown(result, layers=False))
    print(summary(audit(watcher.report)))
    if comparison is not None:
        print('\n' + comparison.markdown())
    if args.out is not None:
        print(f'{", ".join(write(args.out, result, comparison))} written to {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
