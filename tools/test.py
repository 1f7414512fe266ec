"""Test a model: ``python tools/test.py CONFIG CHECKPOINT``; several processes: ``dist_test.sh``."""

import argparse
import inspect
from copy import deepcopy
from pathlib import Path

import mmengine
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.registry import HOOKS, init_default_scope

from mmbsa.utils.files import atomic_open
from mmbsa.utils.launch import add_arguments, load_config, run
from mmbsa.utils.types import type_name


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Test (and evaluate) a segmentor, a classifier or another model'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out',
        metavar='PATH',
        help='predictions for an offline evaluation: a folder of label maps for '
        'segmentors, a .pkl file for other models (or a .json of the metrics, see --out-item)',
    )
    parser.add_argument(
        '--out-item', choices=['metrics', 'pred'], help='what --out writes; not for segmentors'
    )
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', metavar='DIR', help='folder for pictures of the predictions')
    parser.add_argument(
        '--interval',
        type=int,
        default=1,
        help='draw each N-th sample (or batch of a segmentor)',
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds per shown picture')
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation (tta_pipeline and tta_model)'
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='test in mixed precision; on CPUs bfloat16, if the processor supports it',
    )
    parser.add_argument(
        '--no-pin-memory', action='store_true', help='do not pin the memory of batches'
    )
    add_arguments(parser)
    args = parser.parse_args()
    if args.out_item and not args.out:
        parser.error('--out-item needs --out')
    return args


def draw(cfg: Config, args: argparse.Namespace) -> None:
    """Enable the visualization hook of the config."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise SystemExit(
            'error: --show and --show-dir need default_hooks.visualization, e.g. '
            "dict(type='mmbsa.SegOverlayHook') or dict(type='mmbsa.ClsPictureHook')"
        )
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    cls = hook.type if inspect.isclass(hook.type) else HOOKS.get(hook.type)
    if cls is None:
        raise SystemExit(f'error: default_hooks.visualization.type={hook.type!r} is not registered')
    known = inspect.signature(cls).parameters
    hook.update({name: True for name in ('draw', 'enable') if name in known})
    hook.interval = args.interval
    if args.show:
        hook.update(show=True, wait_time=args.wait_time)
    if not args.show_dir:
        return
    for name in ('test_out_dir', 'out_dir'):  # mmdet's, mmpretrain's
        if name in known:
            hook[name] = args.show_dir
            return
    cfg.visualizer.save_dir = args.show_dir


def augment(cfg: Config) -> None:
    """Test on augmented samples; by default, classifiers of pictures average over flips."""
    dataset = cfg.test_dataloader.dataset
    if cfg.get('default_scope') == 'mmpretrain' and 'tta_pipeline' not in cfg:
        if any(
            type_name(step).endswith(('LoadEventFrames', 'EventsToFrames'))
            for step in dataset.pipeline
        ):
            raise SystemExit(
                'error: --tta needs tta_pipeline in the config: flips of pictures do not fit '
                'event frames'
            )
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        *steps, pack = deepcopy(dataset.pipeline)
        cfg.tta_pipeline = [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]
    if cfg.get('default_scope') == 'mmpretrain':
        cfg.setdefault('tta_model', dict(type='mmpretrain.AverageClsScoreTTA'))
    missing = [key for key in ('tta_model', 'tta_pipeline') if key not in cfg]
    if missing:
        raise SystemExit(f'error: --tta needs {" and ".join(missing)} in the config')
    dataset.pipeline = cfg.tta_pipeline
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def save_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Set up ``--out``: label maps of a segmentor, pickled samples of any other model."""
    if cfg.get('default_scope') == 'mmseg':
        if args.out_item:
            raise SystemExit(
                'error: --out of a segmentor is a folder of label maps; omit --out-item'
            )
        cfg.custom_hooks = [
            *(cfg.get('custom_hooks') or []),
            dict(type='mmbsa.LabelMapHook', out_dir=args.out),
        ]
    elif args.out_item != 'metrics':
        if not args.out.endswith(('.pkl', '.pickle')):
            raise SystemExit(
                'error: --out must end in .pkl or .pickle (or use --out-item metrics), got '
                f'{args.out}'
            )
        evaluators = (
            cfg.test_evaluator
            if isinstance(cfg.test_evaluator, list | tuple)
            else [cfg.test_evaluator]
        )
        cfg.test_evaluator = [*evaluators, dict(type='DumpResults', out_file_path=args.out)]
    elif Path(args.out).suffix not in ('.json', '.yaml', '.yml', '.pkl'):
        raise SystemExit(
            f'error: --out of metrics must end in .json, .yaml or .pkl, got {args.out}'
        )


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.show or args.show_dir:
        draw(cfg, args)
    if args.tta:
        augment(cfg)
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.no_pin_memory:
        cfg.test_dataloader.pin_memory = False
    if args.out is not None:
        save_predictions(cfg, args)
    metrics = run(cfg, 'test')
    if args.out is not None and args.out_item == 'metrics' and is_main_process():
        ending = Path(args.out).suffix[1:].replace('yml', 'yaml')
        content = mmengine.dump(metrics, file_format=ending)
        with atomic_open(args.out) as file:
            file.write(content if isinstance(content, bytes) else content.encode())


if __name__ == '__main__':
    main()
