"""Time and memory of ``mmbsa.ops.bipolar_attention``: its implementations, the reference, and softmax attention.

    python tools/benchmarks/bipolar_attention.py --json out.json --plot out.png

The op's parity and exactness tests run first; nothing is measured unless they pass. All candidates then run in one
process, interleaved repeat by repeat; a ratio is the median over the repeats, so that another program on the machine,
which slows all of them alike, moves it little. ``materialised`` is Shiftmax attention in five float operations, without
the exact g of the reference; ``softmax sdpa`` is PyTorch's ``scaled_dot_product_attention``. Memory is the peak of what
torch allocates during a call, its results included. Queries and keys are ternary spikes of a given rate, and a share of
the queries is silent, which is where g needs care.
"""
import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.autograd.profiler import profile
from torch.nn.functional import scaled_dot_product_attention

from mmbsa.ops import bipolar_attention, implementations

ROOT = Path(__file__).resolve().parents[2]
GATE = ('tests/test_ops/test_bipolar_attention.py', 'tests/test_ops/test_bipolar_exactness.py')
REFERENCE_LIMIT = 4 << 30
#: maps of n_q x n_k floats that the materialised candidates hold at their peak: forward, forward + backward (measured).
MAPS = {'reference': (5, 6), 'materialised': (3, 4)}
BASELINE = 'softmax sdpa'


def parse_args(argv=None):
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--n', type=int, nargs='+', default=[196, 1024, 4096], help='numbers of tokens')
    parser.add_argument('--d', type=int, nargs='+', default=[32, 64], help='widths of q and k of a head')
    parser.add_argument('--value-ratio', type=int, default=1, help='d_v / d; Spike-driven Transformer V3 has 4')
    parser.add_argument('--heads', type=int, default=8)
    parser.add_argument('--batch', type=int, help='default: 4, and 1 from 2048 tokens on')
    parser.add_argument('--rate', type=float, default=0.2, help='share of spikes in q and k')
    parser.add_argument('--silent', type=float, default=0.1, help='share of queries without a spike')
    parser.add_argument('--impl', nargs='+', default=implementations('bipolar_attention'), help='default: all')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--dtype', default='float32', choices=['float32', 'bfloat16', 'float16', 'float64'])
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=15)
    parser.add_argument('--json', type=Path, metavar='OUT', help='write every figure')
    parser.add_argument('--plot', type=Path, metavar='OUT.png', help='draw time and memory over n')
    return parser.parse_args(argv)


def gate() -> None:
    """Run the tests that judge the op; exit if one fails."""
    print('tests first:', *GATE, flush=True)
    run = subprocess.run([sys.executable, '-m', 'pytest', *GATE], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f'{run.stdout}{run.stderr}\nThe op is wrong on this machine: no speed is reported.')
    print(run.stdout.strip().splitlines()[-1], flush=True)


def materialised(q, k, v):
    """Shiftmax attention as one would write it first: right except where floats cannot decide g."""
    score = q @ k.mT
    log2_sum = torch.logsumexp(score * math.log(2.), -1, keepdim=True) / math.log(2.)
    return torch.exp2(score - log2_sum.ceil().detach()) @ v


def operands(args, n: int, d: int):
    """q, k, v and the upstream gradient (B, heads, n, d or d_v)."""
    batch = args.batch or (4 if n < 2048 else 1)
    generator = torch.Generator().manual_seed(n + d)
    shape = batch, args.heads, n

    def spikes():
        sign = torch.randint(0, 2, (*shape, d), generator=generator) * 2 - 1
        return sign * (torch.rand(*shape, d, generator=generator) < args.rate)
    q, k = spikes(), spikes()
    q *= torch.rand(*shape, 1, generator=generator) >= args.silent
    v, upstream = (torch.randn(*shape, d * args.value_ratio, generator=generator) for _ in range(2))
    return [x.to(args.device, getattr(torch, args.dtype)) for x in (q, k, v, upstream)]


def calls(args, n: int, d: int, backward: bool) -> dict:
    """Name of a candidate -> function without arguments, or why it is left out."""
    q, k, v, upstream = operands(args, n, d)
    if backward:
        q, k, v = (x.requires_grad_() for x in (q, k, v))
    functions = {name: (lambda name=name: bipolar_attention(q, k, v, impl=name)) for name in args.impl}
    functions['materialised'] = lambda: materialised(q, k, v)
    functions[BASELINE] = lambda: scaled_dot_product_attention(q, k, v)
    map_bytes = q.shape[0] * q.shape[1] * n * n * max(4, q.element_size())
    for name in functions.keys() & MAPS.keys():
        needed = MAPS[name][backward] * map_bytes
        if needed > REFERENCE_LIMIT:
            functions[name] = f'left out: would need {needed / 2 ** 30:.1f} GiB'
    if not backward:
        return functions
    return {name: f if isinstance(f, str) else (lambda f=f: torch.autograd.grad(f(), (q, k, v), upstream))
            for name, f in functions.items()}


def sync(device: str) -> None:
    """Wait for the device."""
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def time_interleaved(functions: dict, repeats: int, device: str) -> dict[str, list[float]]:
    """Milliseconds per call of every candidate, one call each per round, after a warm-up round."""
    times = {name: [] for name in functions}
    for round_ in range(repeats + 1):
        for name, function in functions.items():
            sync(device)
            start = time.perf_counter()
            function()
            sync(device)
            if round_:
                times[name].append((time.perf_counter() - start) * 1e3)
    return times


def peak_memory(function, device: str) -> int:
    """Bytes allocated at the peak of one call, beyond what was allocated before it."""
    if device.startswith('cuda'):
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        function()
        sync(device)
        return torch.cuda.max_memory_allocated() - before
    with profile(profile_memory=True) as record:
        function()
    held = peak = 0
    for event in record.kineto_results.events():
        if event.name() == '[memory]':
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def measure(args) -> list[dict]:
    """One row per n, d, pass and candidate."""
    rows = []
    for n in args.n:
        for d in args.d:
            for backward in (False, True):
                functions = calls(args, n, d, backward)
                usable = {name: f for name, f in functions.items() if not isinstance(f, str)}
                times = time_interleaved(usable, args.repeats, args.device)
                for name, function in functions.items():
                    row = dict(n=n, d=d, d_v=d * args.value_ratio, batch=args.batch or (4 if n < 2048 else 1),
                               heads=args.heads, backward=backward, name=name)
                    if name in usable:
                        low, _, high = statistics.quantiles(times[name], n=4)
                        row |= dict(ms=statistics.median(times[name]), low=low, high=high, peak=peak_memory(function,
                        args.device),
                                    times=times[name],
                                    speedup={other: statistics.median(a / b for a, b in zip(times[other], times[name]))
                                             for other in times})
                    else:
                        row['note'] = function
                    rows.append(row)
                print_rows(rows[-len(functions):])
    return rows


def print_rows(rows: list[dict]) -> None:
    """One block of the table."""
    first = rows[0]
    print(f"\nn={first['n']}  d={first['d']}  d_v={first['d_v']}  batch x heads={first['batch']}x{first['heads']}  "
          f"{'forward + backward' if first['backward'] else 'forward'}")
    print(f"{'':16}{'median ms':>10}{'quartiles':>20}{'x reference':>13}{'x ' + BASELINE:>16}{'peak MiB':>10}")
    for row in rows:
        if 'note' in row:
            print(f"{row['name']:16}{row['note']}")
            continue
        ratios = [f"{row['speedup'][o]:.2f}" if o in row['speedup'] else '-' for o in ('reference', BASELINE)]
        print(f"{row['name']:16}{row['ms']:10.2f}{row['low']:10.2f} -{row['high']:8.2f}{ratios[0]:>13}{ratios[1]:>16}"
              f"{row['peak'] / 2 ** 20:10.1f}", flush=True)


def print_growth(rows: list[dict]) -> None:
    """Peak memory per head and token, which a method in linear memory keeps constant."""
    print('\npeak memory in KiB per query of a head (constant where memory grows linearly in n)')
    measured = [row for row in rows if 'ms' in row]
    tokens = sorted({row['n'] for row in measured})
    print(f"{'':32}" + ''.join(f'{f"n={n}":>12}' for n in tokens))
    for name, d, backward in dict.fromkeys((row['name'], row['d'], row['backward']) for row in measured):
        peaks = {row['n']: row['peak'] / 1024 / (row['batch'] * row['heads'] * row['n']) for row in measured
                 if (row['name'], row['d'], row['backward']) == (name, d, backward)}
        label = f"{name}, d={d}, {'fwd+bwd' if backward else 'fwd'}"
        print(f'{label:32}' + ''.join(f'{peaks[n]:12.2f}' if n in peaks else f"{'-':>12}" for n in tokens))


def plot(rows: list[dict], path: Path) -> None:
    """Time (upper row) and memory (lower row) over n, one column per width and pass."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    measured = [row for row in rows if 'ms' in row]
    panels = list(dict.fromkeys((row['d'], row['backward']) for row in measured))
    size = 4 * len(panels), 7
    figure, axes = pyplot.subplots(2, len(panels), figsize=size, sharex=True, sharey='row', squeeze=False)
    for column, (d, backward) in zip(axes.T, panels):
        inside = [row for row in measured if (row['d'], row['backward']) == (d, backward)]
        for name in dict.fromkeys(row['name'] for row in inside):
            line = sorted((row['n'], row['batch'] * row['heads'], row['ms'], row['peak']) for row in inside
                          if row['name'] == name)
            n = [x[0] for x in line]
            column[0].plot(n, [x[2] / x[1] for x in line], marker='o', label=name)
            column[1].plot(n, [x[3] / x[1] / 2 ** 20 for x in line], marker='o', label=name)
        column[0].set_title(f"d = {d}, {'forward + backward' if backward else 'forward'}")
        column[1].set_xlabel('tokens n')
    axes[0, 0].set_ylabel('ms per head')
    axes[1, 0].set_ylabel('peak MiB per head')
    for axis in axes.flat:
        axis.set_xscale('log', base=2)
        axis.set_yscale('log')
        axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    print(f'drawn: {path}')


def main(argv=None) -> None:
    """Gate, measure, report."""
    args = parse_args(argv)
    gate()
    torch.set_num_threads(args.threads)
    device = torch.cuda.get_device_name() if args.device.startswith('cuda') else f'CPU, {args.threads} threads'
    print(f'torch {torch.__version__}, {device}, {args.dtype}; spikes {args.rate:g}, silent queries {args.silent:g}; '
          f'{args.repeats} interleaved repeats')
    rows = measure(args)
    print_growth(rows)
    if args.json:
        setting = {key: value for key, value in vars(args).items() if key not in ('json', 'plot')}
        report = dict(torch=torch.__version__, device=device, setting=setting, rows=rows)
        args.json.write_text(json.dumps(report, indent=1))
        print(f'written: {args.json}')
    if args.plot:
        plot(rows, args.plot)


if __name__ == '__main__':
    main()
