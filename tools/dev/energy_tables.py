"""Write docs/energy_tables.md: presets under every cost table, audits, published figures, overhead.

    python tools/dev/energy_tables.py --photos FOLDER [--images 1] [--only NAME ...]
    python tools/dev/energy_tables.py --overhead

Trained weights are not available, so weights are random, and the statistics of batch norms are
first set from the photos: rates are those of untrained networks. ``docs/energy_tables.json`` stores
the figures of every preset; stored presets are not counted again (``--again`` counts them).
"""

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cv2
import torch
from mmengine.utils import ProgressBar
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import mmbsa.models  # noqa: F401
from mmbsa.energy import OpCounter, count_operations
from mmbsa.energy.account import energy
from mmbsa.energy.audit import audit
from mmbsa.energy.compare import Comparison
from mmbsa.energy.costs import MAIN, PRESETS
from mmbsa.energy.published import markdown as published
from mmbsa.energy.report import with_merged_convolutions
from mmbsa.energy.twin import quantised_twin
from mmbsa.models.classification.presets import presets
from mmbsa.registry import MODELS
from mmbsa.utils.files import atomic_open

ROOT = Path(__file__).resolve().parents[2]
OUT, DATA = ROOT / 'docs' / 'energy_tables.md', ROOT / 'docs' / 'energy_tables.json'
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: attention of the second row of every preset.
BSA = dict(type='mmbsa.BipolarSelfAttention')
#: rows of a preset: attention, and whether RepConv chains are merged (those that have some).
FORMS = {'native': (None, False), 'BSA': (BSA, False), 'native, merged': (None, True)}


def photos(folder: Path, images: int, size: int = 224) -> Tensor:
    """Return ``images`` photos, spread over a folder, (N, 3, size, size)."""
    paths = sorted(p for p in folder.rglob('*') if p.suffix.lower() in ('.jpg', '.jpeg', '.png'))
    if not paths:
        raise SystemExit(f'error: --photos {folder} has no picture')
    found = []
    for path in paths[:: max(1, len(paths) // images)][:images]:
        image = cv2.cvtColor(cv2.resize(cv2.imread(str(path)), (size, size)), cv2.COLOR_BGR2RGB)
        pixels = torch.from_numpy(image).permute(2, 0, 1) / 255
        found.append((pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))
    return torch.stack(found)


def build(preset, attention: dict | None, x: Tensor, merge: bool) -> nn.Module:
    """Return the published classifier with random weights, and norm statistics from x."""
    torch.manual_seed(0)
    kwargs = {} if attention is None else dict(attention=attention)
    model = MODELS.build(preset.family.classifier_cfg(preset.arch, **kwargs)).eval()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model(x)
    for norm in norms:
        norm.eval()
    return with_merged_convolutions(model) if merge else model


def measure(preset, attention: dict | None, x: Tensor, merge: bool) -> dict:
    """Return the figures of one preset, per image."""
    model = build(preset, attention, x, merge)
    report = count_operations(model, x)
    total, images = report.total, report.images
    try:
        twin = count_operations(quantised_twin(model), x)
    except ValueError as error:  # layers whose size depends on T
        print(f'{preset.name} has no twin of one step: {error}', file=sys.stderr)
        twins = dict.fromkeys(('twin', 'int8', 'float', 'break_even'))
    else:
        comparison = Comparison(report, twin, PRESETS['field'], 8)
        twins = dict(
            twin=comparison.bit_serial.compute,
            int8=comparison.accounts['int8 MAC'].compute,
            float=comparison.accounts['float MAC'].compute,
            break_even=comparison.break_even(memory=False),
        )
    findings = audit(report)
    costs = {}
    for name in MAIN:
        result = energy(report, name)
        costs[name] = dict(compute=result.compute, memory=result.memory)
    return dict(
        size=x.shape[-1],
        chains=report.options['rep_conv']['chains'],
        steps=report.steps,
        levels=report.levels,
        rate=report.rate,
        gmac=total.mac / images / 1e9,
        gac=total.ac / images / 1e9,
        gac_events=total.ac_events / images / 1e9,
        dense=sum(row.counts.dense for row in report.counted()) / images / 1e9,
        shifts=total.shifts / images / 1e9,
        costs=costs,
        **twins,
        driven=sum(f.spike_driven for f in findings),
        products=len(findings),
        without_a_rule=sorted(report.unknown),
        not_driven=[f'{f.layer}: {f.reason}' for f in findings if not f.spike_driven],
    )


def overhead(name: str, cfg: dict, shape: tuple[int, ...]) -> dict:
    """Return the CPU time of a forward without and with counting, in turns in one process."""
    torch.manual_seed(0)
    model, x = MODELS.build(cfg).eval(), torch.rand(*shape)
    counter = OpCounter(model, len(x))
    times: tuple[list, list] = ([], [])
    with torch.no_grad():
        with counter:
            model(x)
        macs = sum(row.counts.dense for row in counter.rows.values()) / 1e9
        for _ in range(7):
            start = time.process_time()
            model(x)
            times[0].append(time.process_time() - start)
            start = time.process_time()
            with counter:
                model(x)
            times[1].append(time.process_time() - start)
    alone, counted = map(statistics.median, times)
    return dict(
        name=name,
        batch=len(x),
        dense=macs,
        ms=1e3 * alone,
        ratio=counted / alone,
        load=os.getloadavg()[0] / os.cpu_count(),
        memory=_peak(cfg, shape, True) / _peak(cfg, shape, False),
    )


def _peak(cfg: dict, shape: tuple[int, ...], counted: bool) -> float:
    """Return the peak memory of a process that runs one forward, in kB."""
    run = subprocess.run(
        [sys.executable, __file__, '--peak', json.dumps([cfg, shape, counted])],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(run.stdout.split()[-1])


def peak(cfg: dict, shape: tuple[int, ...], counted: bool) -> None:
    """Run one forward and print the peak memory of the process."""
    model, x = MODELS.build(cfg).eval(), torch.rand(*shape)
    if counted:
        count_operations(model, x)
    else:
        with torch.no_grad():
            model(x)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


CASES = {
    'E-SpikeFormer-s with BSA, 64 x 64': (
        dict(type='mmbsa.ESpikeFormer', arch='s', attention=BSA),
        (1, 3, 64, 64),
    ),
    'E-SpikeFormer-s with BSA, 224 x 224': (
        dict(type='mmbsa.ESpikeFormer', arch='s', attention=BSA),
        (1, 3, 224, 224),
    ),
    'E-SpikeFormer-s with BSA, 224 x 224, batch': (
        dict(type='mmbsa.ESpikeFormer', arch='s', attention=BSA),
        (8, 3, 224, 224),
    ),
    'Spikingformer-4-384, 32 x 32': (
        dict(type='mmbsa.Spikingformer', arch='cifar-4-384'),
        (1, 3, 32, 32),
    ),
    'Spikingformer-4-384, 32 x 32, batch': (
        dict(type='mmbsa.Spikingformer', arch='cifar-4-384'),
        (8, 3, 32, 32),
    ),
}


def _cells(r: dict) -> list[str]:
    """Return the cells of one preset's row."""
    costs = r['costs']
    both = [
        f'{costs[name]["compute"]:.3f} + {costs[name]["memory"]:.2f}' for name in ('step', 'yan')
    ]
    computed = [
        f'{costs[name]["compute"]:.3f}' for name in ('field', 'horowitz-int8', 'horowitz-fp32')
    ]
    even = '-' if r['break_even'] is None else f'{100 * r["break_even"]:.1f} %'
    counted = [f'{r[key]:.3f}' for key in ('dense', 'gmac', 'gac', 'gac_events', 'shifts')]
    twins = ['-' if r[key] is None else f'{r[key]:.3f}' for key in ('twin', 'int8', 'float')]
    rate = f'{100 * r["rate"]:.1f} %'
    return [
        str(r['size']),
        str(r['steps']),
        str(r['levels']),
        rate,
        *counted,
        *computed,
        *both,
        *twins,
        even,
    ]


def tables(data: dict) -> str:
    """Return all tables as Markdown."""
    lines = [
        '# Energy in tables',
        '',
        'Generated by `tools/dev/energy_tables.py`; do not edit. '
        'What the words mean: [energy.md](energy.md).',
        '',
        '## Presets',
        '',
        'Random weights, norms set from the photos, of the published side (px); mJ per image. '
        '`native, merged` counts RepConv chains as the one convolution that each equals. '
        '`twin` is the bit-serial '
        'quantised network of as many levels, `int8` and `float` the same on multipliers, '
        'all under `field`; '
        '`even` is the mean rate at which the spiking network and the bit-serial twin '
        'compute alike.',
        '',
        '| preset | attention | px | T | D | rate | dense G | MAC G | AC G | by events | shifts G '
        '| field | int8 adds | fp32 adds | step: compute + memory '
        '| yan: compute + memory | twin | int8 | float | even |',
        '|' + '---|' * 20,
    ]
    rows = data.get('presets', {})
    for key in sorted(rows):
        name, _, kind = key.partition('/')
        lines.append(f'| {name} | {kind} | {" | ".join(_cells(rows[key]))} |')
    unknown = sorted({name for r in rows.values() for name in r['without_a_rule']})
    lines += [
        '',
        f'Ops without a rule: {", ".join(unknown) or "none"}.',
        '',
        '## Audit',
        '',
        'Products (convolutions, linear layers, matrix products, attentions) whose operands '
        'make accumulates alone, and '
        'the others with what they read.',
        '',
        '| preset | attention | spike-driven | not spike-driven |',
        '|---|---|---|---|',
    ]
    for key in sorted(rows):
        name, _, kind = key.partition('/')
        r = rows[key]
        rest = r['not_driven']
        text = '; '.join(rest[:3]) + (f'; and {len(rest) - 3} more' if len(rest) > 3 else '')
        lines.append(f'| {name} | {kind} | {r["driven"]} of {r["products"]} | {text} |')
    lines += ['', '## Published figures', '', published()]
    if data.get('overhead'):
        lines += [
            '## Overhead',
            '',
            'CPU time of a forward, one thread, medians of seven in turns in one process; '
            'peak memory of a process. `load` is that of the machine per core: above 1 other '
            'processes push the caches out, and ratios grow.',
            '',
            '| network | batch | dense G | alone, ms | counted | memory | load |',
            '|---|---|---|---|---|---|---|',
        ]
        lines += [
            f'| {r["name"]} | {r["batch"]} | {r["dense"]:.2f} | {r["ms"]:.0f} | '
            f'{r["ratio"]:.2f} x | {r["memory"]:.2f} x | {r["load"]:.1f} |'
            for r in data['overhead']
        ]
    lines = [
        line if line[:1] in ('', '|', '#') else textwrap.fill(line, 100)
        for line in '\n'.join(lines).split('\n')
    ]
    return '\n'.join(lines) + '\n'


def save(data: dict) -> None:
    """Write data and tables."""
    for path, text in ((DATA, json.dumps(data, indent=1) + '\n'), (OUT, tables(data))):
        with atomic_open(path) as file:
            file.write(text.encode())


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--photos', type=Path, help='folder of pictures')
    parser.add_argument('--images', type=int, default=1, help='photos per preset; default 1')
    parser.add_argument(
        '--only', nargs='+', default=[], help='presets whose name contains one of these words'
    )
    parser.add_argument(
        '--again', action='store_true', help='count presets that were counted before'
    )
    parser.add_argument(
        '--overhead',
        action='store_true',
        help='measure the overhead of counting: CPU time in one process, and peak memory',
    )
    parser.add_argument('--peak', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.peak:
        peak(*json.loads(args.peak))
        return 0
    data = json.loads(DATA.read_text()) if DATA.is_file() else dict(presets={}, overhead=[])
    if args.overhead:
        torch.set_num_threads(1)
        data['overhead'] = []
        for name, case in CASES.items():
            found = overhead(name, *case)
            limit = 2 if found['dense'] > 1 else 3
            print(
                f'{name}: batch {found["batch"]}, {found["dense"]:.2f} GMAC, {found["ms"]:.1f} ms, '
                f'{found["ratio"]:.2f} x (at most {limit} x), memory {found["memory"]:.2f} x',
                flush=True,
            )
            data['overhead'].append(found)
            save(data)
    if args.photos:
        chosen = [
            p for p in presets() if not args.only or any(word in p.name for word in args.only)
        ]
        chosen = [p for p in chosen if next(iter(p.data.values()))['input_size'][0] == 3]
        bar = ProgressBar(len(FORMS) * len(chosen))
        for preset in chosen:
            size = next(iter(preset.data.values()))['input_size'][-1]
            # the last maps of small pictures have one position, but norms need several
            x = photos(args.photos, max(args.images, 1 if size >= 224 else 8), size)
            for form, (attention, merge) in FORMS.items():
                key = f'{preset.name}/{form}'
                chains = data['presets'].get(f'{preset.name}/native', {}).get('chains', 0)
                if (args.again or key not in data['presets']) and (chains or not merge):
                    data['presets'][key] = measure(preset, attention, x, merge)
                    save(data)
                    gc.collect()
                bar.update()
    save(data)
    return 0


if __name__ == '__main__':
    sys.exit(main())
