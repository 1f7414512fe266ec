"""Frames per second of the trackers.

    python tools/benchmarks/tracking.py --models tiny base tiny-bsa --batch 1 8 --json tracking.json

A step is one frame of every track of a batch: crops, network, box. It is measured with separate
norms, with norms folded into the convolutions (:func:`mmbsa.models.layers.fuse`), and in mixed
precision (``tools/track.py --amp``; on CPUs only if they have bfloat16 instructions), interleaved.
The time of the network alone is also given in units of the fixed piece of work of ``models.py``,
measured in float32 in the same process just before.
"""

import argparse
import statistics
from pathlib import Path

import harness
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from models import piece_of_work

from mmbsa.models.layers import fuse
from mmbsa.registry import MODELS
from mmbsa.utils.launch import has_bfloat16

ROOT = Path(__file__).resolve().parents[2]
TESTS = 'tests/test_models/test_tracking', 'tests/test_converters/test_sdtrack_parity.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--models',
        nargs='+',
        default=['tiny', 'base'],
        choices=[f'{size}{kind}' for size in ('tiny', 'base') for kind in ('', '-bsa')],
    )
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 8], help='number of tracks')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--no-tests', action='store_true', help='skip the tests of the trackers')
    parser.add_argument('--json', type=Path, help='file for the results')
    return parser.parse_args()


def build(name: str) -> torch.nn.Module:
    size, _, kind = name.partition('-')
    cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'models' / f'sdtrack_{size}.py')
    if kind:
        cfg.model.backbone.attention = dict(type='BipolarSelfAttention')
    return MODELS.build(cfg.model).eval()


@torch.no_grad()
def alive(model: torch.nn.Module) -> torch.nn.Module:
    """Set running statistics from random inputs, so that neurons fire as in a trained model."""
    model.train()
    for _ in range(8):
        model(pair(model, 1))
    return model.eval()


def pair(model: torch.nn.Module, batch: int) -> dict[str, torch.Tensor]:
    sides = dict(template=model.crops.template_size, search=model.crops.search_size)
    return {
        name: 255
        * (
            torch.rand(model.num_steps, batch, 3, side, side, device=model.data_preprocessor.device)
            < 0.05
        ).float()
        for name, side in sides.items()
    }


@torch.no_grad()
def measure(name: str, batch: int, args: argparse.Namespace) -> dict:
    torch.manual_seed(0)
    plain = alive(build(name).to(args.device))
    kinds = dict(plain=(plain, False), folded=(fuse(plain), False))
    if not args.device.startswith('cpu') or has_bfloat16():
        kinds['amp'] = plain, True
    rng = np.random.default_rng(0)
    frames = [
        (255 * (rng.random((plain.num_steps, 260, 346, 3)) < 0.05)).astype(np.uint8)
        for _ in range(batch)
    ]
    states = [plain.init_state(frame, (150, 100, 40, 30)) for frame in frames]
    inputs = pair(plain, batch)
    device = torch.device(args.device).type

    def run(function, amp: bool) -> None:
        with torch.autocast(device, enabled=amp):
            function()

    work = {}
    for kind, (model, amp) in kinds.items():
        work[f'{kind} step'] = lambda m=model, a=amp: run(lambda: m.track(frames, states), a)
        work[f'{kind} network'] = lambda m=model, a=amp: run(lambda: m(inputs), a)
    unit = statistics.median(harness.time_interleaved(dict(unit=piece_of_work), 5, 'cpu')['unit'])
    times = {
        key: harness.spread(found)
        for key, found in harness.time_interleaved(work, args.repeats, args.device).items()
    }
    row = dict(model=name, batch=batch, unit_ms=unit)
    for kind in kinds:
        row[f'{kind}_fps'] = 1000 * batch / times[f'{kind} step']['ms']
        row[f'{kind}_units'] = times[f'{kind} network']['ms'] / batch / unit
        row[f'{kind}_ms'] = times[f'{kind} network']['ms'] / batch
    return row


def main() -> None:
    args = parse_args()
    if not args.no_tests:
        harness.gate(*TESTS)
    torch.set_num_threads(args.threads)
    init_default_scope('mmbsa')
    machine = harness.machine(args.device, torch.float32)
    heads = 'frames/s', 'folded', 'amp', 'network ms', 'folded', 'amp', 'units', 'folded', 'amp'
    print('| ' + ' | '.join(('model', 'tracks', *heads)) + ' |\n' + '|---' * 11 + '|')
    rows = []
    for name in args.models:
        for batch in args.batch:
            row = measure(name, batch, args)
            rows.append(row)
            cells = [
                f'{row[key]:.1f}' if (key := f'{kind}_{what}') in row else '-'
                for what in ('fps', 'ms', 'units')
                for kind in ('plain', 'folded', 'amp')
            ]
            print(f'| {name} | {batch} | ' + ' | '.join(cells) + ' |', flush=True)
    if args.json:
        harness.write(args.json, dict(machine=machine, rows=rows))


if __name__ == '__main__':
    main()
