"""Steps of ``gpu.sh`` besides the other benchmarks: op checks on a GPU, a short training, a report.

python tools/benchmarks/gpu.py check [--small] [--json OUT]
python tools/benchmarks/gpu.py train --device cuda --out DIR
python tools/benchmarks/gpu.py report DIR
"""

import argparse
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from mmbsa.ops import bipolar_attention, lif

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = 77


def attention_inputs(n: int, d: int, dtype: torch.dtype, device: str) -> tuple[torch.Tensor, ...]:
    """Return ternary q and k with a tenth of the queries without spikes, and v: (2, 2, n, d)."""
    generator = torch.Generator().manual_seed(n + d)
    q, k = (torch.randint(-1, 2, (2, 2, n, d), generator=generator).to(dtype) for _ in range(2))
    q[:, :, ::10] = 0
    v = torch.randn(2, 2, n, d, generator=generator).to(dtype)
    return tuple(x.to(device).requires_grad_() for x in (q, k, v))


def passes(function: Callable, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """Return result and gradients."""
    out = function(*inputs)
    weight = torch.linspace(-1, 1, out.numel(), device=out.device).view(out.shape).to(out.dtype)
    return [out.detach(), *torch.autograd.grad((out * weight).sum(), inputs)]


def close(found: list[torch.Tensor], wanted: list[torch.Tensor], tolerance: float) -> None:
    """Raise AssertionError if an error, relative to the largest value, exceeds the tolerance."""
    for a, b in zip(found, wanted):
        error = (a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-30)
        assert error <= tolerance, f'error {error:.2g}, at most {tolerance:.2g} expected'


def check_attention(n: int, d: int, dtype: torch.dtype, device: str) -> None:
    """Check kernels against the reference in float64, equal bits of two runs, and g bit for bit."""
    inputs = attention_inputs(n, d, dtype, device)
    found = passes(lambda *x: bipolar_attention(*x, impl='triton'), inputs)
    again = passes(lambda *x: bipolar_attention(*x, impl='triton'), inputs)
    assert all(torch.equal(a, b) for a, b in zip(found, again)), 'two runs differ'
    exact = tuple(x.detach().double().requires_grad_() for x in inputs)
    wanted = passes(lambda *x: bipolar_attention(*x, impl='reference'), exact)
    close(found, wanted, 2e-2 if dtype == torch.bfloat16 else 2e-5)
    op, options = torch.ops.mmbsa.bipolar_attention, ('ternary', 'shiftmax', 1.0, 'ste')
    with torch.no_grad():
        g = op(*inputs, *options, 'triton')[1], op(*exact, *options, 'reference')[1]
    assert torch.equal(g[0].double(), g[1].double()), 'g is not exact'


def check_neurons(signed: bool, dtype: torch.dtype, device: str) -> None:
    """Check that spikes equal those of the reference and that gradients are close; run opcheck."""
    x = 2 * torch.randn(4, 3000, generator=torch.Generator().manual_seed(0))
    x = x.to(dtype).to(device).requires_grad_()
    found = passes(lambda x: lif(x, signed=signed, impl='triton'), (x,))
    wanted = passes(lambda x: lif(x, signed=signed, impl='reference'), (x,))
    assert torch.equal(found[0], wanted[0]), 'spikes differ'
    close(found[1:], wanted[1:], 1e-2 if dtype == torch.bfloat16 else 1e-5)


def check_registration(device: str) -> None:
    """Run ``torch.library.opcheck`` on attention and neurons."""
    q, k, v = attention_inputs(20, 32, torch.float32, device)
    options = 'ternary', 'shiftmax', 1.0, 'ste', 'triton'
    torch.library.opcheck(torch.ops.mmbsa.bipolar_attention.default, (q, k, v, *options))
    x = torch.randn(4, 300, device=device, requires_grad=True)
    neuron = 2.0, True, 1.0, 0.0, False, 'sigmoid', 4.0, True, 'triton'
    torch.library.opcheck(torch.ops.mmbsa.lif.default, (x, None, *neuron))


def check(args) -> None:
    """Run every check by name; exit status 1 if one fails."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    dtypes = [torch.float32] if args.small else [torch.float32, torch.bfloat16]
    sizes = [(20, 32)] if args.small else [(49, 32), (196, 32), (196, 64), (1024, 32), (1024, 64)]
    checks = {
        f'bipolar_attention n={n} d={d} {dtype}': (check_attention, n, d, dtype, device)
        for n, d in sizes
        for dtype in dtypes
    }
    for signed in (False, True):
        for dtype in dtypes:
            name = f'{"ternary_" * signed}lif {dtype}'
            checks[name] = check_neurons, signed, dtype, device
    checks['opcheck'] = check_registration, device
    failed = {}
    for name, (function, *arguments) in checks.items():
        try:
            function(*arguments)
            print(f'{name}: passed', flush=True)
        except Exception as error:
            failed[name] = f'{type(error).__name__}: {error}'
            traceback.print_exc()
            print(f'{name}: FAILED, {error}', flush=True)
    if args.json:
        args.json.write_text(json.dumps(dict(passed=len(checks) - len(failed), failed=failed)))
    sys.exit(bool(failed))


def train(args) -> None:
    """Run some iterations of the quickstart in mixed precision.

    On CUDA they run in one process with nccl.
    """
    cuda = args.device == 'cuda'
    iterations = 100 if cuda else 2
    options = [f'train_cfg.max_iters={iterations}', f'train_cfg.val_interval={iterations}']
    command = [str(ROOT / 'configs' / 'bsa_quickstart.py'), '--work-dir', str(args.out), '--amp']
    command += ['--cfg-options', *options]
    start = [sys.executable]
    if cuda:
        start += ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=1']
        command += ['--launcher', 'pytorch']
    env = os.environ if cuda else {**os.environ, 'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run([*start, str(ROOT / 'tools' / 'train.py'), *command], env=env)
    sys.exit(done.returncode)


def report(args) -> None:
    """Write report.json and report.md; exit status 1 if a step failed."""
    out, steps = args.folder, {}
    for line in (out / 'steps.txt').read_text().splitlines():
        name, code, seconds = line.split()
        steps[name] = dict(code=int(code), seconds=int(seconds))
    found = dict(steps=steps)
    for path in sorted(out.glob('*.json')):
        if path.stem != 'report':
            found[path.stem] = json.loads(path.read_text())
    found['device'] = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    (out / 'report.json').write_text(json.dumps(found, indent=1))
    words = {0: 'passed', LEFT_OUT: 'left out: no mm packages', 124: 'out of time'}
    lines = [f'Device: {found["device"]}, torch {torch.__version__}', '']
    lines += ['| step | result | seconds |', '|---|---|---|']
    for name, step in steps.items():
        result = words.get(step['code'], f'failed ({step["code"]}), see {name}.log')
        lines.append(f'| {name} | {result} | {step["seconds"]} |')
    for name in steps:  # the tables that the benchmarks printed
        log = out / f'{name}.log'
        rows = log.read_text().splitlines() if log.exists() else []
        table = [row for row in rows if row.startswith('|')]
        lines += ['', f'{name}:', '', *table] if table else []
    (out / 'report.md').write_text('\n'.join(lines) + '\n')
    print('\n'.join(lines))
    sys.exit(any(step['code'] not in (0, LEFT_OUT) for step in steps.values()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser('check')
    one.add_argument('--small', action='store_true', help='one size, for the interpreter')
    one.add_argument('--json', type=Path)
    one.set_defaults(function=check)
    one = commands.add_parser('train')
    one.add_argument('--device', choices=['cpu', 'cuda'], required=True)
    one.add_argument('--out', type=Path, required=True)
    one.set_defaults(function=train)
    one = commands.add_parser('report')
    one.add_argument('folder', type=Path)
    one.set_defaults(function=report)
    args = parser.parse_args()
    args.function(args)


if __name__ == '__main__':
    main()
