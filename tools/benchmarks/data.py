"""Images per second of a training loop, compared with those of its model and of its data alone.

    python tools/benchmarks/data.py \\
        configs/espikeformer/espikeformer_m_8xb256-200e_imagenet-224.py --workers 2
    python tools/benchmarks/data.py CONFIG --data-root data/imagenet --batch 32 --iters 20 --profile

With ``--data-root`` the config's training data are read. Without it, drawn JPEG files of 500 x 375
(the size of ImageNet's) replace them. Three rates are measured one after the other in this process:
``model``, training steps on one batch in memory; ``loop``, a training loop with its workers;
``data``, the workers alone. ``share`` is loop over model: below 95 % the model waits for data. On a
CPU, workers and model share the cores, so the processor time of the workers is lost to the model;
``one image`` is this time, which ``--profile`` splits by step of the pipeline.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmbsa.registry import MODELS

DRAWN = 32  # number of different pictures


def draw(folder: Path) -> None:
    """Write JPEG files of noise with the coarseness of photographs, one per class of ImageNet."""
    generator = np.random.default_rng(0)
    for index in range(DRAWN):
        small = generator.integers(0, 256, (47, 63, 3), dtype=np.uint8)
        picture = cv2.resize(small, (500, 375), interpolation=cv2.INTER_CUBIC)
        noise = generator.integers(0, 40, picture.shape, dtype=np.uint8)
        cv2.imwrite(str(folder / f'{index}.JPEG'), cv2.add(picture, noise))
    for index in range(1000):
        own = folder / 'train' / f'n{index:08d}'
        own.mkdir(parents=True)
        (own / 'one.JPEG').symlink_to(folder / f'{index % DRAWN}.JPEG')


def loader(cfg: Config, root: Path, args) -> torch.utils.data.DataLoader:
    """Return a loader of the config's training data from ``root``."""
    settings = cfg.train_dataloader
    settings.dataset.data_root = str(root)
    settings.batch_size, settings.num_workers = args.batch, args.workers
    settings.persistent_workers = args.workers > 0
    settings.sampler = dict(type='InfiniteSampler', shuffle=True)
    settings.pop('drop_last', None)
    return Runner.build_dataloader(settings, seed=0)


def rate(step, iters: int, batch: int) -> float:
    """Return images per second of ``iters`` calls, after one warm-up call."""
    step()
    start = time.perf_counter()
    for _ in range(iters):
        step()
    return iters * batch / (time.perf_counter() - start)


def profile(dataset, images: int) -> dict[str, float]:
    """Return milliseconds of processor time per image by step of the pipeline, in this process."""
    spent = Counter()
    dataset.full_init()
    for index in range(images):
        sample = dataset.get_data_info(index % len(dataset))
        for transform in dataset.pipeline.transforms:
            start = time.process_time()
            sample = transform(sample)
            spent[type(transform).__name__] += time.process_time() - start
    return {name: 1e3 * seconds / images for name, seconds in spent.items()}


def measure(cfg: Config, root: Path, args) -> dict:
    """Return the rates, and the profile."""
    data = loader(cfg, root, args)
    device = torch.device(args.device)
    model = MODELS.build(cfg.model).to(device).train()
    optimizer = dict(type='OptimWrapper', optimizer=cfg.optim_wrapper.optimizer)
    wrapper = build_optim_wrapper(model, optimizer)
    batches = iter(data)
    first = next(batches)

    def step(batch) -> None:
        model.train_step(batch, wrapper)
        if device.type == 'cuda':
            torch.cuda.synchronize()

    found = dict(
        model=rate(lambda: step(first), args.iters, args.batch),
        loop=rate(lambda: step(next(batches)), args.iters, args.batch),
        data=rate(lambda: next(batches), args.iters, args.batch),
        steps=profile(data.dataset, args.images),
    )
    found['one image ms'] = sum(found['steps'].values())
    return dict(found, share=found['loop'] / found['model'])


def table(found: dict, args) -> str:
    """Return the result as Markdown."""
    lines = [
        '| model, images/s | loop | data alone | share | one image, ms |',
        '|---|---|---|---|---|',
        f'| {found["model"]:.2f} | {found["loop"]:.2f} | {found["data"]:.1f} | '
        f'{found["share"]:.0%} | {found["one image ms"]:.2f} |',
    ]
    if args.profile:
        lines += ['', '| step of the pipeline | ms per image |', '|---|---|']
        lines += [f'| {name} | {ms:.2f} |' for name, ms in found['steps'].items()]
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of a classifier')
    parser.add_argument('--data-root', type=Path, help='folder of training data; default: drawn')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--iters', type=int, default=10, help='measured iterations; default 10')
    parser.add_argument('--images', type=int, default=64, help='images of the profile; default 64')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--profile', action='store_true', help='measure the pipeline steps too')
    parser.add_argument('--json', type=Path, metavar='OUT', help='write every figure')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    with tempfile.TemporaryDirectory() as folder:
        root = args.data_root
        if root is None:
            root = Path(folder)
            draw(root)
        found = measure(cfg, root, args)
    print(table(found, args))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
    main()
