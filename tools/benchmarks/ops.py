"""Time and memory of the ops: their implementations, the reference, and common alternatives.

    python tools/benchmarks/ops.py --op bipolar_attention --json out.json --plot out.png
    python tools/benchmarks/ops.py --op lif ternary_lif
    python tools/benchmarks/ops.py --op bipolar_attention ternary_lif --grow --plot growth.png
    python tools/benchmarks/ops.py --op conv_weight_grad --layers 'dense 28' 'depth-wise 7x7'
    python tools/benchmarks/ops.py --compare before.json after.json

The tests of an op run first; measurements start only if they pass. All candidates run in one
process, interleaved repeat by repeat. Memory is the peak of torch's allocations during a call, with
its results. ``limit`` is the share of the best rate of this machine: of its matrix product rate for
attention, whose work counts as the two (backward: four more) dense products; of its copy bandwidth
for neurons, whose traffic counts as one read of x and one write of spikes (backward: reads of the
gradient and of x, and one write). Weight gradients of convolutions, which are a part of a backward
and have none, are compared with the matrix product rate.

Baselines of attention: ``materialised`` is Shiftmax attention in five float operations, without the
exact g of the reference; ``softmax sdpa`` is PyTorch's ``scaled_dot_product_attention``, and on
CUDA each of its backends. Queries and keys are ternary spikes of a given rate, and a share of the
queries has no spikes, where g is most difficult. Baselines of neurons: SpikingJelly's node, whose
loop over time is unfused on a CPU, and its kernels on CUDA; and the same equations in its FlexSN,
which generates a kernel on CUDA. Baselines of weight gradients, over channels-last maps: PyTorch's,
and ``conv2d``, the forward of the same layer, which has as many multiply-adds.
"""

import argparse
import contextlib
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import harness
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from mmbsa.ops import bipolar_attention, conv_weight_grad, implementations, lif, triton_support
from mmbsa.utils.memory import peak_memory

REFERENCE_LIMIT = 4 << 30
#: number of n_q x n_k float maps that the materialised candidates allocate at their peak: forward,
#: forward + backward (measured).
MAPS = {'reference': (5, 6), 'materialised': (3, 4)}


def parse_args(argv=None):
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--op', nargs='+', default=sorted(OPS), choices=sorted(OPS))
    parser.add_argument(
        '--n', type=int, nargs='+', default=[196, 1024, 4096], help='attention: numbers of tokens'
    )
    parser.add_argument(
        '--d', type=int, nargs='+', default=[32, 64], help='attention: head widths of q and k'
    )
    parser.add_argument(
        '--value-ratio', type=int, default=1, help='d_v / d; Spike-driven Transformer V3 has 4'
    )
    parser.add_argument('--heads', type=int, default=8)
    parser.add_argument('--batch', type=int, help='attention: default 4, or 1 from 2048 tokens on')
    parser.add_argument('--rate', type=float, default=0.2, help='share of spikes in q and k')
    parser.add_argument(
        '--silent', type=float, default=0.1, help='share of queries without a spike'
    )
    parser.add_argument('--steps', type=int, nargs='+', default=[1, 4], help='neurons: T')
    parser.add_argument(
        '--neurons', type=int, nargs='+', default=[1 << 17, 1 << 21], help='neurons: N of (T, N)'
    )
    parser.add_argument(
        '--layers', nargs='+', default=list(LAYERS), choices=list(LAYERS), help='convolutions'
    )
    parser.add_argument(
        '--grow',
        action='store_true',
        help='instead of these sizes: vary each size alone over a wide range, '
        'with the others fixed (attention, neurons)',
    )
    parser.add_argument('--impl', nargs='+', help='implementations; default: all available here')
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--dtype', default='float32', choices=['float32', 'bfloat16', 'float16', 'float64']
    )
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=15)
    parser.add_argument(
        '--no-tests', action='store_true', help='skip the tests, e.g. if they have just passed'
    )
    parser.add_argument('--json', type=Path, metavar='OUT', help='write every figure')
    parser.add_argument(
        '--plot', type=Path, metavar='OUT.png', help='draw time and memory over the size'
    )
    parser.add_argument(
        '--compare', type=Path, nargs=2, metavar=('A.json', 'B.json'), help='print B / A and stop'
    )
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Benchmark:
    """Measurement of one op: its tests, points, candidates, and the work of a call."""

    tests: tuple[str, ...]
    kernel_tests: str | None  # tests of the Triton kernels, if they run here
    baselines: tuple[str, ...]
    #: passes that are measured: the op alone, and with its backward
    passes = (False, True)
    axis = 'neurons n'
    #: size -> its command line argument, its value while others vary, and its range
    sizes = {}

    def points(self, args) -> list[dict]:
        """Return the sizes to measure; the first key is the axis of the plot."""
        raise NotImplementedError

    def grown(self, args) -> Iterator[tuple[str, dict]]:
        """Yield (varied size, point) for ``--grow``."""
        base = argparse.Namespace(
            **vars(args) | {name: value for name, value, _ in self.sizes.values()}
        )
        for size, (name, value, values) in self.sizes.items():
            for other in values:
                changed = {name: [other] if isinstance(value, list) else other}
                yield size, self.points(argparse.Namespace(**vars(base) | changed))[0]

    def candidates(self, args, point: dict, backward: bool) -> dict:
        """Return name -> function without arguments, or the reason why it is skipped."""
        raise NotImplementedError

    def limit_ms(self, args, point: dict, backward: bool, machine: dict) -> float:
        """Return milliseconds of the counted work at the machine's best rate."""
        raise NotImplementedError


def with_backward(functions: dict, inputs, upstream) -> dict:
    """Return the same candidates, each followed by its backward."""
    return {
        name: f if isinstance(f, str) else (lambda f=f: torch.autograd.grad(f(), inputs, upstream))
        for name, f in functions.items()
    }


def materialised(q, k, v):
    """Compute Shiftmax attention in the obvious way: correct if floats can determine g."""
    score = q @ k.mT
    log2_sum = torch.logsumexp(score * math.log(2.0), -1, keepdim=True) / math.log(2.0)
    return torch.exp2(score - log2_sum.ceil().detach()) @ v


class Attention(Benchmark):
    """Benchmark of ``bipolar_attention``."""

    axis = 'tokens n'
    sizes = dict(
        n=('n', [1024], (64, 128, 196, 256, 512, 1024, 2048, 4096)),
        d=('d', [32], (16, 32, 64, 128, 256)),
        batch=('batch', 2, (1, 2, 4, 8, 16)),
    )

    def points(self, args) -> list[dict]:
        """Return n, d, and the sizes that follow from them."""
        return [
            dict(
                n=n,
                d=d,
                d_v=d * args.value_ratio,
                batch=args.batch or (4 if n < 2048 else 1),
                heads=args.heads,
            )
            for d in args.d
            for n in args.n
        ]

    def operands(self, args, point: dict):
        """Return q, k, v and the upstream gradient (B, heads, n, d or d_v)."""
        generator = torch.Generator().manual_seed(point['n'] + point['d'])
        shape = point['batch'], point['heads'], point['n']

        def spikes():
            sign = torch.randint(0, 2, (*shape, point['d']), generator=generator) * 2 - 1
            return sign * (torch.rand(*shape, point['d'], generator=generator) < args.rate)

        q, k = spikes(), spikes()
        q *= torch.rand(*shape, 1, generator=generator) >= args.silent
        v, upstream = (torch.randn(*shape, point['d_v'], generator=generator) for _ in range(2))
        return [x.to(args.device, getattr(torch, args.dtype)) for x in (q, k, v, upstream)]

    def candidates(self, args, point: dict, backward: bool) -> dict:
        """Return name -> function: implementations, materialised attention, softmax attention."""
        q, k, v, upstream = self.operands(args, point)
        if backward:
            q, k, v = (x.requires_grad_() for x in (q, k, v))
        functions = {
            name: (lambda name=name: bipolar_attention(q, k, v, impl=name))
            for name in args.impl or implementations('bipolar_attention')
        }
        functions['materialised'] = lambda: materialised(q, k, v)
        functions['softmax sdpa'] = lambda: scaled_dot_product_attention(q, k, v)
        if args.device.startswith('cuda'):
            for backend in (
                SDPBackend.FLASH_ATTENTION,
                SDPBackend.EFFICIENT_ATTENTION,
                SDPBackend.CUDNN_ATTENTION,
            ):
                functions[f'softmax {backend.name.split("_")[0].lower()}'] = self.by_backend(
                    backend, q, k, v
                )
        maps = q.shape[0] * q.shape[1] * point['n'] ** 2 * max(4, q.element_size())
        for name in functions.keys() & MAPS.keys():
            if (needed := MAPS[name][backward] * maps) > REFERENCE_LIMIT:
                functions[name] = f'left out: would need {needed / 2**30:.1f} GiB'
        return with_backward(functions, (q, k, v), upstream) if backward else functions

    def by_backend(self, backend, q, k, v):
        """Return softmax attention by one backend, or the reason why the backend cannot run."""

        def attend():
            with sdpa_kernel(backend):
                return scaled_dot_product_attention(q, k, v)

        try:
            attend()
        except RuntimeError as error:
            return f'left out: {str(error).splitlines()[0]}'
        return attend

    def limit_ms(self, args, point: dict, backward: bool, machine: dict) -> float:
        """Return the limit for two dense products forward and four more backward."""
        product = (
            2 * point['batch'] * point['heads'] * point['n'] ** 2 * (point['d'] + point['d_v']) / 2
        )
        return (6 if backward else 2) * product / machine['matmul_flop_per_s'] * 1e3


@dataclass(frozen=True)
class Neurons(Benchmark):
    """Benchmark of ``lif`` with tau 2, hard and detached reset, sigmoid surrogate.

    ``signed`` selects ``ternary_lif``.
    """

    signed: bool = False
    sizes = dict(
        n=('neurons', [1 << 18], tuple(1 << i for i in range(12, 23, 2))),
        T=('steps', [4], (1, 2, 4, 8, 16)),
    )

    def points(self, args) -> list[dict]:
        """Return N and T."""
        return [dict(n=n, T=steps) for steps in args.steps for n in args.neurons]

    def candidates(self, args, point: dict, backward: bool) -> dict:
        """Return name -> function: implementations, SpikingJelly's node and FlexSN.

        Without SpikingJelly, only implementations are returned.
        """
        generator = torch.Generator().manual_seed(point['n'] + point['T'])
        x, upstream = (
            torch.randn(point['T'], point['n'], generator=generator).to(
                args.device, getattr(torch, args.dtype)
            )
            for _ in range(2)
        )
        x.requires_grad_(backward)
        functions = {
            name: (lambda name=name: lif(x, detach_reset=True, signed=self.signed, impl=name))
            for name in args.impl or implementations('lif')
        }
        try:
            functions |= self.spikingjelly(x)
        except ImportError as error:
            print(f'SpikingJelly is left out: {error}')
        return with_backward(functions, (x,), upstream) if backward else functions

    def spikingjelly(self, x: torch.Tensor) -> dict:
        """Return SpikingJelly's node, and the equations in its FlexSN."""
        from spikingjelly.activation_based import neuron, surrogate

        node = (neuron.TernaryLIFNode if self.signed else neuron.LIFNode)(
            tau=2.0, detach_reset=True, step_mode='m'
        )

        def fused():
            node.reset()
            return node(x)

        def binary(x, v):
            h = v + (x - v) / 2.0
            spike = surrogate.sigmoid.apply(h - 1.0, 4.0)
            return spike, (1.0 - spike.detach()) * h

        def ternary(x, v):
            h = v + (x - v) / 2.0
            upper, lower = (
                surrogate.sigmoid.apply(h - 1.0, 4.0),
                surrogate.sigmoid.apply(-h - 1.0, 4.0),
            )
            return upper - lower, (1.0 - (upper + lower).detach()) * h

        generated = neuron.FlexSN(ternary if self.signed else binary, num_states=1)

        def flexsn():
            generated.reset()
            return generated(x)

        return {'SpikingJelly': fused, 'FlexSN': flexsn}

    def limit_ms(self, args, point: dict, backward: bool, machine: dict) -> float:
        """Return the limit for one pass over x and the spikes, and three more backward."""
        size = point['n'] * point['T'] * getattr(torch, args.dtype).itemsize
        return (5 if backward else 2) * size / machine['copy_bytes_per_s'] * 1e3


#: N, C, O, side of the map, kernel, stride, groups; padding keeps the size
LAYERS = {
    'dense 112': (8, 64, 128, 112, 3, 1, 1),
    'dense 56': (8, 128, 256, 56, 3, 1, 1),
    'dense 28': (8, 256, 512, 28, 3, 1, 1),
    'dense 14': (8, 512, 512, 14, 3, 1, 1),
    'one image': (1, 128, 128, 128, 3, 1, 1),
    'strided': (8, 128, 256, 56, 3, 2, 1),
    'stem 3x3': (2, 3, 64, 224, 3, 1, 1),
    'stem 7x7': (8, 3, 64, 224, 7, 2, 1),
    '1x1 up': (8, 512, 2048, 14, 1, 1, 1),
    '1x1 down': (8, 384, 96, 28, 1, 1, 1),
    'grouped': (8, 256, 256, 56, 3, 1, 4),
    'depth-wise 7x7': (1, 96, 96, 256, 7, 1, 96),
    'depth-wise 3x3': (8, 256, 256, 56, 3, 1, 256),
}


class WeightGradients(Benchmark):
    """Benchmark of ``conv_weight_grad`` over channels-last maps."""

    passes = (False,)
    axis = 'positions n'

    def points(self, args) -> list[dict]:
        """Return positions of the output, and the layer's name."""
        return [
            dict(n=n * (-(-side // stride)) ** 2, layer=layer)
            for layer in args.layers
            for n, _, _, side, _, stride, _ in [LAYERS[layer]]
        ]

    def candidates(self, args, point: dict, backward: bool) -> dict:
        """Return name -> function: implementations, and the forward ``conv2d`` of the layer."""
        n, c, o, side, kernel, stride, groups = LAYERS[point['layer']]
        generator = torch.Generator().manual_seed(c + o)

        def draw(*shape):
            return (
                torch.randn(shape, generator=generator)
                .to(args.device, getattr(torch, args.dtype))
                .contiguous(memory_format=torch.channels_last)
            )

        x, weight = draw(n, c, side, side), draw(o, c // groups, kernel, kernel)
        grad = draw(n, o, *[-(-side // stride)] * 2)
        functions = {
            name: (
                lambda name=name: conv_weight_grad(
                    x, grad, kernel, stride, kernel // 2, groups, impl=name
                )
            )
            for name in args.impl or implementations('conv_weight_grad')
        }
        return functions | {
            'conv2d': lambda: torch.conv2d(x, weight, None, stride, kernel // 2, 1, groups)
        }

    def limit_ms(self, args, point: dict, backward: bool, machine: dict) -> float:
        """Return the limit for a multiply-add per weight and position."""
        _, c, o, _, kernel, _, groups = LAYERS[point['layer']]
        return 2 * point['n'] * o * c // groups * kernel**2 / machine['matmul_flop_per_s'] * 1e3


NEURONS = (
    ('tests/test_ops/test_lif.py',),
    'tests/test_ops/test_lif_triton.py',
    ('reference', 'SpikingJelly'),
)
OPS = {
    'bipolar_attention': Attention(
        ('tests/test_ops/test_bipolar_attention.py', 'tests/test_ops/test_bipolar_exactness.py'),
        'tests/test_ops/test_bipolar_triton.py',
        ('reference', 'softmax sdpa'),
    ),
    'conv_weight_grad': WeightGradients(
        ('tests/test_ops/test_conv_weight_grad.py', 'tests/test_models/test_layers/test_conv.py'),
        None,
        ('reference', 'conv2d'),
    ),
    'lif': Neurons(*NEURONS),
    'ternary_lif': Neurons(*NEURONS, signed=True),
}


def judges(ops: list[str]) -> list[str]:
    """Return the files of the tests of these ops."""
    files = [test for op in ops for test in OPS[op].tests]
    if not triton_support.missing():
        files += [OPS[op].kernel_tests for op in ops if OPS[op].kernel_tests]
    return list(dict.fromkeys(files))


def measure(op: str, args, machine: dict) -> list[dict]:
    """Return one row per point, pass and candidate."""
    benchmark, rows = OPS[op], []
    for axis, point in (
        benchmark.grown(args) if args.grow else ((None, point) for point in benchmark.points(args))
    ):
        for backward in benchmark.passes:
            functions = benchmark.candidates(args, point, backward)
            usable = {name: f for name, f in functions.items() if not isinstance(f, str)}
            times = harness.time_interleaved(usable, args.repeats, args.device)
            limit = benchmark.limit_ms(args, point, backward, machine)
            block = []
            for name, function in functions.items():
                row = dict(op=op, axis=axis, point=point, backward=backward, name=name)
                if name in usable:
                    row |= harness.spread(times[name])
                    row |= dict(
                        peak=peak_memory(function, args.device),
                        limit=limit / row['ms'],
                        speedup={
                            other: statistics.median(
                                a / b for a, b in zip(times[other], times[name])
                            )
                            for other in times
                        },
                    )
                else:
                    row['note'] = function
                block.append(row)
            print_rows(block, benchmark.baselines)
            rows += block
    return rows


def print_rows(rows: list[dict], baselines: tuple[str, ...]) -> None:
    """Print one block of the table."""
    first = rows[0]
    print(
        f'\n{first["op"]}  {"  ".join(f"{k}={v}" for k, v in first["point"].items())}  '
        f'{"forward + backward" if first["backward"] else "forward"}'
    )
    print(
        f'{"":18}{"median ms":>10}{"quartiles":>20}'
        + ''.join(f'{"x " + name:>16}' for name in baselines)
        + f'{"limit":>8}{"peak MiB":>10}'
    )
    for row in rows:
        if 'note' in row:
            print(f'{row["name"]:18}{row["note"]}')
            continue
        ratios = ''.join(
            f'{row["speedup"][o]:16.2f}' if o in row['speedup'] else f'{"-":>16}' for o in baselines
        )
        print(
            f'{row["name"]:18}{row["ms"]:10.2f}{row["low"]:10.2f} '
            f'-{row["high"]:8.2f}{ratios}{row["limit"]:8.0%}'
            f'{row["peak"] / 2**20:10.1f}',
            flush=True,
        )


def main(argv=None) -> None:
    """Run tests, measure, report."""
    args = parse_args(argv)
    if args.compare:
        print(
            harness.compare(
                args.compare,
                lambda row: (
                    row['op'],
                    row['name'],
                    'f+b' if row['backward'] else 'f',
                    *(f'{k}={v}' for k, v in row['point'].items()),
                ),
            )
        )
        return
    if args.grow and (fixed := [op for op in args.op if not OPS[op].sizes]):
        raise SystemExit(
            f'--grow: {", ".join(fixed)} has layers instead of sizes; choose others with --op'
        )
    torch.set_num_threads(args.threads)
    if not args.no_tests:
        harness.gate(*judges(args.op))
    machine = harness.machine(args.device, getattr(torch, args.dtype))
    rows = []
    with (
        torch.cuda.device(args.device)
        if args.device.startswith('cuda')
        else contextlib.nullcontext()
    ):
        for op in args.op:
            rows += measure(op, args, machine)
    if args.json:
        setting = {
            key: value
            for key, value in vars(args).items()
            if key not in ('json', 'plot', 'compare')
        }
        harness.write(args.json, dict(machine=machine, setting=setting, rows=rows))
    if args.plot and args.grow:
        import plots

        plots.growth(rows, args.plot)
    elif args.plot:
        import plots

        plots.over_size(rows, {op: OPS[op].axis for op in args.op}, args.plot)


if __name__ == '__main__':
    main()
