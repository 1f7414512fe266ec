"""Train a model: ``python tools/train.py CONFIG``; several processes: ``tools/dist_train.sh``."""

import argparse

from mmengine.config import Config

from mmbsa.utils.launch import add_arguments, load_config, run
from mmbsa.utils.types import type_name


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue a run from the newest complete checkpoint of the work dir, or from the '
        'given one',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train in automatic mixed precision; on CPUs bfloat16, if the processor supports it',
    )
    parser.add_argument(
        '--low-memory',
        action='store_true',
        help='on CPUs: return freed memory to the system at once instead of keeping it for the '
        'next step; lower peak, slower steps',
    )
    add_arguments(parser)
    return parser.parse_args()


def use_amp(cfg: Config) -> None:
    kind = type_name(cfg.optim_wrapper) or 'OptimWrapper'
    if kind == 'AmpOptimWrapper':
        return
    if kind != 'OptimWrapper':
        raise SystemExit(
            f'error: --amp works with optim_wrapper.type OptimWrapper, the config has {kind}'
        )
    cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    if args.amp:
        use_amp(cfg)
    cfg.low_memory = args.low_memory
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    run(cfg, 'train')


if __name__ == '__main__':
    main()
