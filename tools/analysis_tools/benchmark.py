"""Measure how many images per second the model of a config predicts.

    python tools/analysis_tools/benchmark.py configs/bsa_quickstart.py --batch-size 4

The time includes preprocessing, the network, and postprocessing. The inputs are random, with the
size and the number of frames of the config's test pipeline. With --data they are the first samples
of the config's test data; tracking and point clouds need this option. --train measures steps of a
training (forward, losses, backward, without the optimizer) on the first samples of the training
data, and the peak memory of their tensors.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from get_flops import input_shape
from mmengine import Config, DictAction
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from torch import nn

from mmbsa.apis.inference import build_model, load_model
from mmbsa.models.layers import fuse
from mmbsa.utils.memory import peak_memory


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, help='config of the model')
    parser.add_argument('checkpoint', type=Path, nargs='?', help='weights; default: random')
    parser.add_argument('--batch-size', type=int, default=1, help='default 1')
    parser.add_argument('--iters', type=int, default=20, help='timed batches; default 20')
    parser.add_argument('--warmup', type=int, default=3, help='untimed batches before; default 3')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='N',
        help='height width, or one side; default 512, or the size of event frames',
    )
    parser.add_argument('--data', action='store_true', help="use samples of the config's test data")
    parser.add_argument(
        '--train', action='store_true', help='measure training steps, on the training data'
    )
    parser.add_argument(
        '--fuse', action='store_true', help='fold norms into convolutions first, as for deployment'
    )
    parser.add_argument('--device', default='cuda:0' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override the config, key=value'
    )
    args = parser.parse_args(argv)
    for path in filter(None, (args.config, args.checkpoint)):
        if not path.is_file():
            parser.error(f'{path} does not exist')
    for name, low in (('batch_size', 1), ('iters', 1), ('warmup', 0)):
        if getattr(args, name) < low:
            parser.error(f'--{name.replace("_", "-")} must be at least {low}')
    if args.train and (args.fuse or args.shape):
        parser.error('--train takes neither --fuse nor --shape')
    if args.shape is not None and len(args.shape) > 2:
        parser.error('--shape takes one number or two')
    return args


def samples(model: nn.Module, shape: tuple[int, ...], number: int) -> dict:
    """Return a batch of random inputs with the empty annotations that the model needs.

    Args:
        model: model of mmseg, mmdet or mmpretrain.
        shape: shape of one input: (C, H, W), or (T, C, H, W) for event frames.
        number: batch size B.
    """
    backbone = type(getattr(model, 'backbone', model))
    if backbone.__module__.startswith('mmbsa.models.points'):
        raise ValueError(f'{backbone.__name__} takes point clouds: use --data')
    package = next(
        (
            kind.__module__.partition('.')[0]
            for kind in type(model).__mro__
            if kind.__module__.startswith(('mmseg', 'mmdet', 'mmpretrain'))
        ),
        None,
    )
    meta = dict(
        img_shape=shape[-2:],
        ori_shape=shape[-2:],
        pad_shape=shape[-2:],
        scale_factor=(1.0, 1.0),
        img_path=None,
    )
    if package == 'mmseg':
        from mmseg.structures import SegDataSample as Sample
    elif package == 'mmdet':
        from mmdet.structures import DetDataSample as Sample
    elif package == 'mmpretrain':
        from mmpretrain.structures import DataSample as Sample
    else:
        raise ValueError(f'{type(model).__name__} takes no pictures: use --data')
    if len(shape) == 4:
        inputs = torch.randint(0, 3, (number, *shape)).float()
    else:
        inputs = torch.randint(0, 256, (number, *shape), dtype=torch.uint8)
    return dict(inputs=list(inputs), data_samples=[Sample(metainfo=meta) for _ in range(number)])


def loaded(cfg: Config, number: int, split: str = 'test') -> dict:
    """Return a batch of the first samples of the config's test or training data."""
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        raise ValueError(f'the config has no {split}_dataloader')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    dataset = DATASETS.build(loader.dataset)
    if len(dataset) < number:
        raise ValueError(f'--batch-size {number}: the {split} data has {len(dataset)} samples')
    return pseudo_collate([dataset[i] for i in range(number)])


def measure_training(
    model: nn.Module, batch: dict, iters: int, warmup: int
) -> tuple[list[float], float, float]:
    """Return the seconds of every timed step, the mean processor time of a step in seconds, and the
    MiB of tensors that a step allocates at its peak, in addition to the parameters.

    The memory is measured in one more step.
    """
    model.train()
    device = next(model.parameters()).device

    def step() -> None:
        data = model.data_preprocessor(dict(batch), True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        loss.backward()
        model.zero_grad(set_to_none=True)
        if device.type == 'cuda':
            torch.cuda.synchronize()

    seconds = []
    for i in range(warmup + iters):
        if i == warmup:
            used = time.process_time()
        start = time.perf_counter()
        step()
        if i >= warmup:
            seconds.append(time.perf_counter() - start)
    used = (time.process_time() - used) / iters
    return seconds, used, peak_memory(step, device) / 2**20


def measure(model: nn.Module, batch: dict, iters: int, warmup: int) -> list[float]:
    """Return the seconds of every timed batch."""
    seconds = []
    with torch.no_grad():
        for i in range(warmup + iters):
            start = time.perf_counter()
            model.test_step(dict(batch))
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if i >= warmup:
                seconds.append(time.perf_counter() - start)
    return seconds


def to_text(seconds: list[float], number: int, what: str) -> str:
    """Return the result as text."""
    middle = statistics.median(seconds)
    return '\n'.join(
        [
            f'input             {what}',
            f'images per second {number / middle:.2f}',
            f'ms per batch      {1000 * middle:.2f} (median of {len(seconds)}, '
            f'{1000 * min(seconds):.2f} to {1000 * max(seconds):.2f})',
        ]
    )


def main(argv=None) -> int:
    args = parse_args(argv)
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    try:
        if args.checkpoint is None:
            model = build_model(cfg).to(args.device)
        else:
            model = load_model(cfg, str(args.checkpoint), args.device)
        if args.train or args.data:
            split = 'train' if args.train else 'test'
            batch = loaded(cfg, args.batch_size, split)
            what = f'{args.batch_size} of the {split} data'
        else:
            shape = input_shape(cfg, model, args.shape and (args.shape[0], args.shape[-1]))
            batch = samples(model, shape, args.batch_size)
            what = ' x '.join(map(str, (args.batch_size, *shape)))
    except ValueError as error:
        print(f'error: {args.config}: {error}', file=sys.stderr)
        return 1
    if args.train:
        seconds, used, memory = measure_training(model, batch, args.iters, args.warmup)
        print(to_text(seconds, args.batch_size, f'{what} on {args.device}'))
        print(f'core ms per batch {1000 * used:.2f}\npeak memory MiB   {memory:.0f}')
        return 0
    if args.fuse:
        model = fuse(model)
    seconds = measure(model, batch, args.iters, args.warmup)
    print(to_text(seconds, args.batch_size, f'{what} on {args.device}'))
    return 0


if __name__ == '__main__':
    sys.exit(main())
