"""Speed and memory of whole models, beside the official code and SpikingJelly's own models.

    python tools/benchmarks/models.py --models espikeformer-m espikeformer-m-seg --json models.json

Milliseconds of a shared machine say little, so every time is also given in units of a fixed piece of work, measured in
the same process just before: a 3x3 convolution of (8, 64, 112, 112), a leaky update and a threshold. The official
figures are in these units too. SpikingJelly's models run in the same process, interleaved with ours. Memory is the peak
resident size of a process of its own, minus its size before the model ran, forward + backward at the given batch.
"""
import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
BSA = dict(type='mmbsa.BipolarSelfAttention')
#: official code on two CPU threads, fp32, torch 2.11: (forward units, forward + backward units, MiB) per image.
OFFICIAL = {
    'spikingformer-8-512': (11.9, 36.7, 3774), 'qkformer-10-384': (10.3, 32.9, 3494), 'espikeformer-m': (1.3, 6.3, 535),
    'espikeformer-l': (2.0, 8.9, 773), 'spikformer-8-512': (12.0, 38.2, 3792), 'spikformer-8-384': (8.0, 23.5, 2908),
    'sdt-8-384': (7.7, 23.2, 2630), 'sdt-8-512': (10.9, 35.6, 3557), 'meta-spikeformer-8-384': (16.4, 67.4, 5022),
    'spikingresformer-ti': (7.6, 21.1, 2449), 'spikingresformer-s': (10.1, 27.3, 3078),
    'espikeformer-m-seg': (7.6, 36.5, 1392), 'espikeformer-m-segmentor': (20.1, 73.4, 2164),
}
#: SpikingJelly's own models that are neighbours of ours.
SPIKINGJELLY = {'spikformer-8-512': ('spikformer', 'Spikformer', dict(embed_dims=512, num_heads=8, depths=8)),
                'qkformer-10-384': ('qkformer', 'qkformer_10_384', {}),
                'sdt-8-384': ('spike_driven_transformer', 'sdt_8_384', {})}


def _families() -> dict[str, dict]:
    lif = dict(num_steps=4)
    specs = {f'espikeformer-{a}': dict(type='mmbsa.ESpikeFormer', arch=a, out_indices=(4,)) for a in 'tsml'}
    for family, kind in (('spikformer', 'Spikformer'), ('spikingformer', 'Spikingformer'),
                         ('sdt', 'SpikeDrivenTransformer')):
        specs |= {f'{family}-{a}': dict(type=f'mmbsa.{kind}', arch=a, **lif) for a in ('8-384', '8-512', '8-768')}
    specs |= {f'qkformer-{a}': dict(type='mmbsa.QKFormer', arch=a, **lif) for a in ('10-384', '10-512', '10-768')}
    specs |= {f'meta-spikeformer-{a}': dict(type='mmbsa.MetaSpikeFormer', arch=a, **lif) for a in ('8-384', '8-512')}
    specs |= {f'spikingresformer-{a}': dict(type='mmbsa.SpikingResformer', arch=a, **lif) for a in ('ti', 's', 'm', 'l')}
    return specs


def config(name: str) -> tuple[dict, int]:
    """Model config and image size of a benchmark name; ``-bsa`` at the end swaps the attention."""
    base, bsa = name.removesuffix('-bsa'), name.endswith('-bsa')
    families = _families()
    attention = dict(attention=BSA) if bsa else {}
    if base.endswith(('-seg', '-segmentor')):
        stem, _, kind = base.rpartition('-')
        backbone = dict(families[stem], out_indices=(0, 1, 2, 4), layer_scale=1e-6, **attention)
        if kind == 'seg':
            return backbone, 512
        c0, c1, _, c3 = dict(s=(32, 64, 128, 192), m=(48, 96, 192, 240), l=(64, 128, 256, 360))[stem[-1]]
        return dict(type='mmseg.EncoderDecoder', backbone=backbone,
                    neck=dict(type='mmbsa.SpikeFPN', in_channels=(c0 // 2, c0, c1, c3), out_channels=128),
                    decode_head=dict(type='mmbsa.SpikeFPNHead', in_channels=[128] * 4, in_index=[0, 1, 2, 3], channels=128,
                                     feature_strides=(4, 8, 16, 32), num_classes=150)), 512
    if base not in families:
        raise SystemExit(f'unknown model {name!r}; there are {", ".join(sorted(families))}, each also with -bsa, and '
                         'espikeformer-*-seg, espikeformer-*-segmentor')
    return dict(type='mmbsa.SpikingClassifier', num_classes=1000, backbone=dict(families[base], **attention)), 224


def build(name: str) -> torch.nn.Module:
    """Our model in training mode."""
    from mmbsa.registry import MODELS
    return MODELS.build(config(name)[0]).train()


def build_spikingjelly(name: str):
    """SpikingJelly's neighbour and what makes it forget between runs."""
    import importlib

    from spikingjelly.activation_based import functional
    module, factory, kwargs = SPIKINGJELLY[name.removesuffix('-bsa')]
    model = getattr(importlib.import_module(f'spikingjelly.activation_based.model.{module}'), factory)(**kwargs)
    functional.set_step_mode(model, 'm')
    return model.train(), functional.reset_net


def piece_of_work() -> None:
    """The unit of time."""
    x, w = piece_of_work.tensors
    z = torch.nn.functional.conv2d(x, w, padding=1)
    z = z + (0 - z) / 2
    (z >= 1).to(z).sum()


piece_of_work.tensors = (torch.randn(8, 64, 112, 112), torch.randn(64, 64, 3, 3))


def step(model, x, backward: bool, reset=None) -> float:
    """Milliseconds of one forward, or forward + backward."""
    start = time.perf_counter()
    with torch.set_grad_enabled(backward):
        out = model(x)
    if backward:
        sum(o.mean() for o in ([out] if torch.is_tensor(out) else out)).backward()
    elapsed = (time.perf_counter() - start) * 1e3
    model.zero_grad(set_to_none=True)
    if reset:
        reset(model)
    return elapsed


def measure(name: str, args) -> dict:
    """Times of one model and its SpikingJelly neighbour, interleaved with the unit, in this process."""
    size = args.size or config(name)[1]
    batch = args.batch or (1 if size == 512 else 2)
    x = torch.randn(batch, 3, size, size)
    models = {'ours': (build(name), x, None)}
    if name.removesuffix('-bsa') in SPIKINGJELLY and not args.no_spikingjelly:
        model, reset = build_spikingjelly(name)
        models['spikingjelly'] = (model, x, reset)
    times = {key: {mode: [] for mode in ('forward', 'both')} for key in models}
    units = []
    for round_ in range(args.repeats + 1):
        for key, (model, inputs, reset) in models.items():
            for mode in ('forward', 'both'):
                before = time.perf_counter()
                piece_of_work()
                unit = (time.perf_counter() - before) * 1e3
                elapsed = step(model, inputs, mode == 'both', reset)
                if round_:  # the first round warms up
                    units.append(unit)
                    times[key][mode].append(elapsed / batch)
    unit = statistics.median(units)
    result = dict(name=name, size=size, batch=batch, unit_ms=unit,
                  parameters=sum(p.numel() for p in models['ours'][0].parameters()))
    for key, modes in times.items():
        result[key] = {mode: dict(ms=statistics.median(t), units=statistics.median(t) / unit,
                                  best_units=min(t) / min(units)) for mode, t in modes.items()}
    return result


def memory(name: str, args) -> dict:
    """Peak resident MiB of one model, in this process."""
    size = args.size or config(name)[1]
    x = torch.randn(args.batch or (1 if size == 512 else 2), 3, size, size)
    model, reset = build_spikingjelly(name) if args.worker == 'memory-spikingjelly' else (build(name), None)
    before = int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()
    for _ in range(3):
        step(model, x, True, reset)
    return dict(mib=(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 2**20)


def run_worker(kind: str, name: str, args) -> dict:
    command = [sys.executable, __file__, '--worker', kind, '--models', name, '--threads', str(args.threads),
               '--repeats', str(args.repeats)]
    for key in ('size', 'batch'):
        if getattr(args, key):
            command += [f'--{key}', str(getattr(args, key))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def parity_is_green() -> None:
    """Numbers are printed only for models that are right."""
    command = [sys.executable, '-m', 'pytest', '-q', '-x', str(ROOT / 'tests' / 'test_converters'),
               str(ROOT / 'tests' / 'test_models')]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    print('tests first:', done.stdout.strip().splitlines()[-1])
    if done.returncode:
        raise SystemExit(f'{done.stdout[-4000:]}\nno figures from models that fail their tests')


def table(results: list[dict]) -> str:
    """Markdown; ratios are official or SpikingJelly's time over ours, so more than 1 means ours is faster."""
    lines = ['| model | params | input | forward units (x official, x SpikingJelly) | forward + backward units | MiB '
             '(official, SpikingJelly) |', '|---|---|---|---|---|---|']
    for r in results:
        official = OFFICIAL.get(r['name'].removesuffix('-bsa'))
        cells = []
        for i, mode in enumerate(('forward', 'both')):
            ours = r['ours'][mode]['units']
            ratios = [f'{official[i] / ours:.2f}' if official else '-',
                      f"{r['spikingjelly'][mode]['units'] / ours:.2f}" if 'spikingjelly' in r else '-']
            cells.append(f'{ours:.2f} ({", ".join(ratios)})')
        others = [f'{official[2]}' if official else '-',
                  f"{r['spikingjelly']['mib']:.0f}" if 'spikingjelly' in r else '-']
        lines.append(f"| {r['name']} | {r['parameters']:,} | {r['batch']}x3x{r['size']} | {' | '.join(cells)} | "
                     f"{r['ours']['mib']:.0f} ({', '.join(others)}) |")
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', default=['espikeformer-m', 'espikeformer-m-bsa', 'espikeformer-m-seg',
                                                        'espikeformer-m-seg-bsa'])
    parser.add_argument('--size', type=int, help='side of the image; 224, or 512 for -seg and -segmentor')
    parser.add_argument('--batch', type=int, help='2, or 1 at 512')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--json', help='file for the results')
    parser.add_argument('--no-spikingjelly', action='store_true')
    parser.add_argument('--no-tests', action='store_true', help='another command of this run has just passed them')
    parser.add_argument('--worker', choices=['speed', 'memory', 'memory-spikingjelly'], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.worker:
        print(json.dumps((measure if args.worker == 'speed' else memory)(args.models[0], args)))
        return
    if not args.no_tests:
        parity_is_green()
    results = []
    for name in args.models:
        result = run_worker('speed', name, args)
        result['ours']['mib'] = run_worker('memory', name, args)['mib']
        if 'spikingjelly' in result:
            result['spikingjelly']['mib'] = run_worker('memory-spikingjelly', name, args)['mib']
        results.append(result)
        print(table([result]).splitlines()[-1], flush=True)
    print(f'\ntorch {torch.__version__}, {args.threads} threads, fp32, unit '
          f'{statistics.median(r["unit_ms"] for r in results):.0f} ms\n\n{table(results)}')
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == '__main__':
    main()
