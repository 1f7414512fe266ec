"""Search for wrong results of torch's convolutions, pooling and norms on this CPU.

    python tools/dev/check_convolutions.py --cases 2000 --minutes 20
    python tools/dev/check_convolutions.py --cases 500 --ours
    python tools/dev/check_convolutions.py --isa AVX2 --ops conv2d

Random calls (kernel, stride, dilation, padding, groups, channels, sizes, layouts, dtype, threads)
run in a worker process. Output and gradients to input, weight and bias are compared with float64
results of the same operands without oneDNN. A worker that crashes ends one case only. If there is a
C compiler, workers run with ``guard_alloc.c``, so that a write past a buffer ends the call at once.
``--ours`` checks ``mmbsa.models.layers.Conv2d`` instead of torch's convolution, ``--isa`` limits
oneDNN to an older instruction set (see its ONEDNN_MAX_CPU_ISA).

The tool prints one row per kind of wrong call: the numbers of wrong calls and of all calls, the
wrong results, and the smallest wrong call, which ``--case`` repeats. The exit status is 1 if there
is a wrong result.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

OPS = (
    'conv2d',
    'conv1d',
    'conv_transpose2d',
    'batch_norm',
    'max_pool2d',
    'avg_pool2d',
    'adaptive_avg_pool2d',
    'linear',
)
CONVOLUTIONS = OPS[:3]
WORKER = Path(__file__).with_name('convolution_calls.py')
MOST_PRODUCTS, MOST_VALUES = 4e7, 2e6
CASE_SECONDS = 60
SIDES = 1, 8, 16, 24, 32, 48  # some kernels are used for multiples of the stride only


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--cases', type=int, default=1000, help='largest number of calls (default: 1000)'
    )
    parser.add_argument('--minutes', type=float, default=10, help='longest time (default: 10)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the first case; default 0')
    parser.add_argument('--ops', nargs='+', choices=OPS, default=list(OPS), help='calls to try')
    parser.add_argument(
        '--isa', help='instruction set that oneDNN may use, such as AVX2 or AVX512_CORE'
    )
    parser.add_argument(
        '--ours', action='store_true', help="check mmbsa's Conv2d instead of torch's conv2d"
    )
    parser.add_argument(
        '--no-guard', action='store_true', help="use the system's allocator for torch's memory"
    )
    parser.add_argument(
        '--case',
        type=json.loads,
        action='append',
        help='run this case, as printed, instead of random ones',
    )
    parser.add_argument(
        '--fix',
        type=json.loads,
        default={},
        help='JSON of keys that are the same in all random cases',
    )
    parser.add_argument('--json', type=Path, help='file for all cases and their errors')
    args = parser.parse_args(argv)
    if args.ours:
        args.ops = [op for op in args.ops if op == 'conv2d']
    return args


def draw_case(seed: int, ops: list[str], fix: dict) -> dict:
    """Return a random call with the given keys; convolutions are drawn most often."""
    rng = random.Random(seed)
    while True:
        op = rng.choice(
            ops if rng.random() < 0.4 else [op for op in ops if op in CONVOLUTIONS] or ops
        )
        case = dict(
            op=op,
            seed=seed,
            batch=rng.randint(1, 9),
            channels=draw_channels(rng),
            size=[rng.choice([rng.randint(1, 12), rng.randint(1, 56), *SIDES]) for _ in range(2)],
            layout=rng.choice(['last', 'last', 'contiguous', 'sliced']),
            dtype=rng.choice(['float32'] * 3 + ['bfloat16'] * 2 + ['float64']),
            threads=rng.randint(1, 2),
        )
        if rng.random() < 0.5:
            case['size'][1] = case['size'][0]
        if op == 'linear':
            case['outputs'] = draw_channels(rng)
        if op in (*CONVOLUTIONS, 'max_pool2d', 'avg_pool2d'):
            draw_window(rng, case)
        if op == 'conv1d':
            for key in ('size', 'kernel', 'stride', 'padding', 'dilation'):
                case[key] = case[key][1:]
        case.update(fix)
        if is_call(case):
            return case


def draw_channels(rng: random.Random) -> int:
    """Return 1 to 64 channels; half of the results are numbers that networks use."""
    return rng.choice([rng.randint(1, 64), rng.choice([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64])])


def draw_window(rng: random.Random, case: dict) -> None:
    """Draw kernel, stride, padding and dilation.

    For convolutions also draw channels, groups, bias and layouts.
    """
    side = rng.choice([1, 1, 1, 2, 3, 3, 3, 4, 5, 7, 8])
    kernel = (
        [side, side]
        if rng.random() < 0.85
        else [rng.choice([1, 3, side]), rng.choice([1, 5, side])]
    )
    stride = rng.choice([[1, 1], [2, 2], [2, 2], kernel, [rng.randint(1, 4), rng.randint(1, 4)]])
    padding = rng.choice(
        [[0, 0], [side // 2 for side in kernel], [rng.randint(0, side // 2) for side in kernel]]
    )
    dilation = (
        [1, 1] if rng.random() < 0.85 or case['op'] == 'avg_pool2d' else [rng.randint(1, 3)] * 2
    )
    case.update(kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    if case['op'] not in CONVOLUTIONS:
        return
    kind = rng.choice(['dense', 'dense', 'dense', 'depthwise', 'multiplied', 'grouped'])
    groups = dict(dense=1, grouped=rng.choice([2, 3, 4, 8])).get(kind, case['channels'])
    inputs = max(1, case['channels'] // groups)
    outputs = dict(
        dense=draw_channels(rng),
        depthwise=groups,
        multiplied=groups * rng.randint(2, 4),
        grouped=groups * rng.randint(1, 16),
    )[kind]
    case.update(
        channels=inputs * groups,
        outputs=outputs,
        groups=groups,
        bias=rng.random() < 0.5,
        weight_layout=rng.choice(['contiguous', 'contiguous', 'contiguous', 'last']),
        grad_layout=rng.choice(['last', 'contiguous', 'expanded']),
    )


def is_call(case: dict) -> bool:
    """Return whether the case has an output and is not too large."""
    values = case['batch'] * case['channels']
    for side in case['size']:
        values *= side
    if (
        'kernel' not in case
    ):  # with few values per channel, the variance is too inaccurate to check the norm
        return values <= MOST_VALUES and values >= 16 * case['channels']
    products, outs = (
        case['batch'] * case.get('outputs', 1) * case['channels'] // case.get('groups', 1),
        case['batch'],
    )
    for size, k, s, p, d in zip(
        *(case[key] for key in ('size', 'kernel', 'stride', 'padding', 'dilation'))
    ):
        out = (size + 2 * p - d * (k - 1) - 1) // s + 1
        if case['op'] == 'conv_transpose2d':
            out = (size - 1) * s - 2 * p + d * (k - 1) + 1
        if out < 1 or (case['op'] == 'avg_pool2d' and p > k // 2):
            return False
        products *= k * out
        outs *= out
    return (
        products <= MOST_PRODUCTS
        and max(values, outs * case.get('outputs', case['channels'])) <= MOST_VALUES
    )


def kind_of(case: dict) -> str:
    """Return the row of the table for a case."""
    words = [
        case['op'],
        case['dtype'],
        'channels-last'
        if 'last' in (case['layout'], case.get('weight_layout'))
        else case['layout'],
    ]
    if 'kernel' in case:
        words.append('1x1' if max(case['kernel']) == 1 else 'k x k')
        words += ['strided'] * (max(case['stride']) > 1) + ['dilated'] * (max(case['dilation']) > 1)
        words += ['padded'] * (max(case['padding']) > 0)
    groups = case.get('groups', 1)
    if groups > 1:
        words.append('depth-wise' if groups == case['channels'] else 'grouped')
    return ' '.join(words)


def cost(case: dict) -> int:
    """Return the size of a case, to find the smallest one."""
    product = case['batch'] * case['channels'] * case.get('outputs', 1)
    for side in case['size']:
        product *= side
    return product


class Worker:
    """A process that runs cases and is started again after a crash."""

    def __init__(self, args: argparse.Namespace, guard: Path | None):
        self.command = [sys.executable, '-W', 'ignore', str(WORKER), *['--ours'] * args.ours]
        self.environment = {
            **os.environ,
            'OMP_NUM_THREADS': '2',
            'OMP_WAIT_POLICY': 'PASSIVE',
            'PYTHONPATH': os.pathsep.join(
                [str(WORKER.parents[2]), os.environ.get('PYTHONPATH', '')]
            ),
        }
        if args.isa:
            self.environment['ONEDNN_MAX_CPU_ISA'] = args.isa
        if guard is not None:
            self.environment['LD_PRELOAD'] = str(guard)
        self.process = None

    def run(self, case: dict) -> dict[str, float | str]:
        """Return the errors of a case: part -> its error, or how the process ended."""
        if self.process is None:
            self.errors = tempfile.TemporaryFile()
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
            )
        alarm = signal.signal(signal.SIGALRM, lambda *_: self.process.kill())
        signal.alarm(CASE_SECONDS)
        try:
            self.process.stdin.write(json.dumps(case) + '\n')
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ''
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, alarm)
        if answer:
            return json.loads(answer)
        code, self.process = self.process.wait(), None
        self.errors.seek(0)
        last = self.errors.read().decode(errors='replace').strip().splitlines()[-1:]
        name = signal.Signals(-code).name if code < 0 else f'exit status {code}'
        return {'crash': ' '.join([name, *(line[:80] for line in last)])}

    def blame(self, case: dict) -> dict[str, float | str]:
        """Run as :meth:`run`; after a crash run each part alone, to find the one that crashes."""
        wrong = self.run(case)
        if 'crash' not in wrong or case['op'] not in CONVOLUTIONS:
            return wrong
        parts = {
            part: self.run({**case, 'only': part}) for part in ('output', 'input', 'weight', 'bias')
        }
        found = {part: how.get('crash', how.get(part)) for part, how in parts.items() if how}
        return found or wrong

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()


def build_guard(folder: str) -> Path | None:
    """Return the preloaded allocator, or None without a C compiler."""
    compiler = shutil.which(os.environ.get('CC', 'cc'))
    target = Path(folder, 'guard_alloc.so')
    if compiler is None or not sys.platform.startswith('linux'):
        return None
    done = subprocess.run(
        [
            compiler,
            '-O1',
            '-shared',
            '-fPIC',
            str(Path(__file__).with_name('guard_alloc.c')),
            '-o',
            str(target),
            '-ldl',
        ],
        capture_output=True,
    )
    return target if not done.returncode else None


def cases_of(args: argparse.Namespace) -> Iterator[dict]:
    """Yield cases until the number or the time is reached."""
    end = time.monotonic() + 60 * args.minutes
    for case in args.case or (
        draw_case(args.seed + index, args.ops, args.fix) for index in range(args.cases)
    ):
        if time.monotonic() > end:
            return
        yield case


def table(tried: list[tuple[dict, dict]]) -> list[str]:
    """Return lines: for each kind with errors, their number, the errors, and the smallest case."""
    kinds: dict[str, list[tuple[dict, dict]]] = {}
    for case, wrong in tried:
        kinds.setdefault(kind_of(case), []).append((case, wrong))
    lines = []
    for kind, entries in sorted(kinds.items()):
        failed = [(case, wrong) for case, wrong in entries if wrong]
        if failed:
            parts = sorted({part for _, wrong in failed for part in wrong})
            case, wrong = min(failed, key=lambda entry: cost(entry[0]))
            lines += [
                f'{kind}: {len(failed)} of {len(entries)} wrong ({", ".join(parts)}); '
                f'the smallest: {wrong}',
                f"    --case '{json.dumps(case)}'",
            ]
    return lines


def torch_version() -> str:
    """Return versions of torch and oneDNN, and the instruction set, from another process."""
    code = (
        'import torch; print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability(), '
        '*[line.strip() for line in torch.__config__.show().splitlines() if "MKL-DNN" in line])'
    )
    return subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    ).stdout.strip()


def main(argv: list[str] | None = None) -> int:
    """Search, and print the result."""
    args = parse_args(argv)
    print(torch_version(), f'ISA {args.isa}' if args.isa else '', flush=True)
    tried = []
    with tempfile.TemporaryDirectory() as folder:
        guard = None if args.no_guard else build_guard(folder)
        worker = Worker(args, guard)
        for case in cases_of(args):
            tried.append((case, worker.blame(case)))
        worker.close()
    if args.json:
        args.json.write_text('\n'.join(json.dumps([case, wrong]) for case, wrong in tried))
    wrong = sum(bool(wrong) for _, wrong in tried)
    print(f'{len(tried)} calls, {wrong} wrong; guarded: {guard is not None}')
    print('\n'.join(table(tried)))
    return int(wrong > 0)


if __name__ == '__main__':
    sys.exit(main())
