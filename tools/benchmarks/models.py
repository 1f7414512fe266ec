"""Speed and memory of whole models, SpikingJelly's models and a dense twin in the same process.

    python tools/benchmarks/models.py --models espikeformer-m espikeformer-m-seg \\
        --json models.json --plot models.png
    python tools/benchmarks/models.py --models spikingformer-8-512 spikingformer-8-512-bsa \\
        --profile --inference
    python tools/benchmarks/models.py --device cuda --dtype bfloat16 --batch 32 --inference
    python tools/benchmarks/models.py --models espikeformer-m --inference \\
        --beside espikeformer-m=CLONE/models.py:Efficient_Spiking_Transformer_m
    python tools/benchmarks/models.py --compare before.json models.json

Milliseconds on a shared machine are not comparable, so every time is also given in units of a fixed
piece of work, measured in the same process just before: a 3x3 convolution of (8, 64, 112, 112), a
leaky update and a threshold. SpikingJelly's models run in the same process, interleaved with those
of mmbsa; ratios are printed only for models that ran in this process. Memory is the peak resident
size of a separate process minus its size before the model ran, for forward + backward at the given
batch.

``--beside MODEL=FILE.py:FUNCTION`` runs other code in turns with a model, for example the official
one: ``FUNCTION()`` of a file returns a module that takes images. The states of SpikingJelly's nodes
are reset after each run.

``limit`` is the time that the model's multiplications need at the rate of a matrix product measured
in the same process, divided by the measured time. The rest is memory traffic (norms, neurons,
layouts) and convolutions below that rate. ``--twin`` runs the dense twin too: the same network with
ReLU, one step and softmax attention (for SpikingResformer its own attention, because there is no
softmax twin of the same width). ``--keep-memory`` measures the effect of keeping freed memory, as
``tools/train.py`` does on CPUs (:func:`mmbsa.utils.memory.keep_freed_memory`): steps with and
without it, in turns. ``--memory`` measures the tensors between forward and backward by dtype, the
peak of all tensors of a step, the peak of the process if the C library returns every freed block of
1 MiB at once (the difference to the other peak is memory that it keeps for later), and the peak of
SpikingJelly's model with its ``memopt`` (convolutions and linear layers keep bits, level 1).
``--inference`` adds the model in eval mode, with folded norms
(:func:`mmbsa.models.layers.fuse`), and on CUDA replayed from a CUDA graph. ``--profile`` splits the
time of a training step. 16 bits use autocast; the unit of time uses float32.
"""

import argparse
import collections
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import harness
import model_tables
import saved
import torch

TESTS = 'tests/test_converters', 'tests/test_models'
BSA = dict(type='mmbsa.BipolarSelfAttention')
DENSE = dict(num_steps=1, neuron=dict(type='ReLU'), attention=dict(type='mmbsa.SoftmaxAttention'))
#: SpikingJelly's models that correspond to those of mmbsa.
SPIKINGJELLY = {
    'spikformer-8-512': ('spikformer', 'Spikformer', dict(embed_dims=512, num_heads=8, depths=8)),
    'qkformer-10-384': ('qkformer', 'qkformer_10_384', {}),
    'sdt-8-384': ('spike_driven_transformer', 'sdt_8_384', {}),
}


def _families() -> dict[str, dict]:
    lif = dict(num_steps=4)
    specs = {
        f'espikeformer-{a}': dict(type='mmbsa.ESpikeFormer', arch=a, out_indices=(4,))
        for a in 'tsml'
    }
    for family, kind in (
        ('spikformer', 'Spikformer'),
        ('spikingformer', 'Spikingformer'),
        ('sdt', 'SpikeDrivenTransformer'),
    ):
        specs |= {
            f'{family}-{a}': dict(type=f'mmbsa.{kind}', arch=a, **lif)
            for a in ('8-384', '8-512', '8-768')
        }
    specs |= {
        f'qkformer-{a}': dict(type='mmbsa.QKFormer', arch=a, **lif)
        for a in ('10-384', '10-512', '10-768')
    }
    specs |= {
        f'meta-spikeformer-{a}': dict(type='mmbsa.MetaSpikeFormer', arch=a, **lif)
        for a in ('8-384', '8-512')
    }
    specs |= {
        f'spikingresformer-{a}': dict(type='mmbsa.SpikingResformer', arch=a, **lif)
        for a in ('ti', 's', 'm', 'l')
    }
    return specs


def config(name: str) -> tuple[dict, int]:
    """Return model config and image size of a benchmark name.

    The ending ``-bsa`` replaces the attention, ``-ann`` selects the twin.
    """
    base, _, variant = name.rpartition('-')
    if variant not in ('bsa', 'ann'):
        base, variant = name, ''
    families = _families()
    attention = dict(bsa=dict(attention=BSA), ann=dict(DENSE)).get(variant, {})
    if variant == 'ann' and base.startswith('spikingresformer'):
        del attention['attention']
    if base.endswith(('-seg', '-segmentor')):
        stem, _, kind = base.rpartition('-')
        backbone = dict(families[stem], out_indices=(0, 1, 2, 4), layer_scale=1e-6, **attention)
        if kind == 'seg':
            return backbone, 512
        c0, c1, _, c3 = dict(s=(32, 64, 128, 192), m=(48, 96, 192, 240), l=(64, 128, 256, 360))[
            stem[-1]
        ]
        return dict(
            type='mmseg.EncoderDecoder',
            backbone=backbone,
            neck=dict(type='mmbsa.SpikeFPN', in_channels=(c0 // 2, c0, c1, c3), out_channels=128),
            decode_head=dict(
                type='mmbsa.SpikeFPNHead',
                in_channels=[128] * 4,
                in_index=[0, 1, 2, 3],
                channels=128,
                feature_strides=(4, 8, 16, 32),
                num_classes=150,
            ),
        ), 512
    if base not in families:
        raise SystemExit(
            f'unknown model {name!r}; there are {", ".join(sorted(families))}, each also with -bsa '
            'and '
            '-ann, and espikeformer-*-seg, espikeformer-*-segmentor'
        )
    return dict(
        type='mmbsa.SpikingClassifier', num_classes=1000, backbone=dict(families[base], **attention)
    ), 224


def build(name: str) -> torch.nn.Module:
    """Build the model of mmbsa in training mode."""
    from mmbsa.registry import MODELS

    return MODELS.build(config(name)[0]).train()


def build_spikingjelly(name: str):
    """Build SpikingJelly's model, and the function that resets its state between runs."""
    from spikingjelly.activation_based import functional

    module, factory, kwargs = SPIKINGJELLY[name.removesuffix('-bsa')]
    model = getattr(
        importlib.import_module(f'spikingjelly.activation_based.model.{module}'), factory
    )(**kwargs)
    functional.set_step_mode(model, 'm')
    return model.train(), functional.reset_net


def build_beside(name: str, args):
    """Build the module of ``--beside`` of a model, and the function that resets its state."""
    from spikingjelly.activation_based import functional

    path, function = args.beside[name]
    spec = importlib.util.spec_from_file_location(f'beside_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    if not hasattr(module, function):
        raise SystemExit(f'--beside: {path} has no function {function!r}')
    model = getattr(module, function)()
    if not isinstance(model, torch.nn.Module):
        raise SystemExit(
            f'--beside: {function}() of {path} returned {type(model).__name__}, expected a module'
        )
    return model.train(), functional.reset_net


def besides(texts: list[str], models: list[str]) -> dict[str, tuple[Path, str]]:
    """Return file and function by model from the texts ``MODEL=FILE.py:FUNCTION``."""
    found = {}
    for text in texts:
        name, _, rest = text.partition('=')
        path, _, function = rest.rpartition(':')
        if not path or not function.isidentifier():
            raise SystemExit(f'--beside {text}: expected MODEL=FILE.py:FUNCTION')
        if name not in models:
            raise SystemExit(f'--beside {text}: {name!r} is not in --models {" ".join(models)}')
        if not Path(path).is_file():
            raise SystemExit(f'--beside {text}: there is no file {path}')
        found[name] = Path(path), function
    return found


def piece_of_work(device: str = 'cpu') -> None:
    """Run the fixed piece of work, the unit of time."""
    if device not in piece_of_work.tensors:
        piece_of_work.tensors[device] = [
            torch.randn(*shape, device=device) for shape in ((8, 64, 112, 112), (64, 64, 3, 3))
        ]
    x, w = piece_of_work.tensors[device]
    z = torch.nn.functional.conv2d(x, w, padding=1)
    z = z + (0 - z) / 2
    (z >= 1).to(z).sum()
    harness.sync(device)


piece_of_work.tensors = {}


@dataclass(frozen=True)
class Candidate:
    """A timed model and how to run it."""

    model: Callable
    modes: tuple[str, ...] = ('forward', 'both')
    reset: Callable | None = None  # resets the state between runs


def candidates(name: str, args, x: torch.Tensor) -> dict[str, Candidate]:
    """Return the model of mmbsa and those for comparison, by the name of their code."""
    found = {'ours': Candidate(build(name).to(args.device))}
    base = name.removesuffix('-bsa')
    if args.twin and not name.endswith('-ann'):
        found['ann'] = Candidate(build(f'{base}-ann').to(args.device))
    if base in SPIKINGJELLY and not args.no_spikingjelly:
        model, reset = build_spikingjelly(name)
        found['spikingjelly'] = Candidate(model.to(args.device), reset=reset)
    if name in args.beside:
        model, reset = build_beside(name, args)
        found['beside'] = Candidate(model.to(args.device), reset=reset)
    if args.inference:
        from mmbsa.models.layers import fuse

        found['eval'] = Candidate(build(name).to(args.device).eval(), ('forward',))
        folded = fuse(build(name)).to(args.device)
        found['fused'] = Candidate(folded, ('forward',))
        if name in args.beside:
            model, reset = build_beside(name, args)
            found['beside eval'] = Candidate(model.to(args.device).eval(), ('forward',), reset)
        if args.device.startswith('cuda'):
            with (
                torch.no_grad(),
                torch.autocast(
                    'cuda', args.dtype, args.dtype != torch.float32, cache_enabled=False
                ),
            ):
                found['graph'] = Candidate(
                    torch.cuda.make_graphed_callables(folded, (x,)), ('forward',)
                )
    return found


def step(
    candidate: Candidate, x: torch.Tensor, backward: bool, dtype: torch.dtype = torch.float32
) -> float:
    """Return milliseconds of one forward, or of forward + backward."""
    device, model = x.device.type, candidate.model
    harness.sync(device)
    start = time.perf_counter()
    with torch.set_grad_enabled(backward), torch.autocast(device, dtype, dtype != torch.float32):
        out = model(x)
    if backward:
        sum(o.float().mean() for o in ([out] if torch.is_tensor(out) else out)).backward()
    harness.sync(device)
    elapsed = (time.perf_counter() - start) * 1e3
    if backward:
        model.zero_grad(set_to_none=True)
    if candidate.reset:
        candidate.reset(model)
    return elapsed


def images(name: str, args) -> torch.Tensor:
    """Return a batch of noise."""
    size = args.size or config(name)[1]
    return torch.randn(args.batch or (1 if size == 512 else 2), 3, size, size, device=args.device)


def measure(name: str, args) -> dict:
    """Return the times of one model and of those for comparison."""
    x = images(name, args)
    batch = len(x)
    models = candidates(name, args, x)
    times, units = interleaved(models, x, args)
    unit = statistics.median(units)
    ours = models['ours']
    if args.keep_memory:
        times |= memory_in_turns(ours, x, args)
    result = dict(
        name=name,
        size=x.size(-1),
        batch=batch,
        unit_ms=unit,
        parameters=sum(p.numel() for p in ours.model.parameters()),
    )
    rate = harness.matmul_rate(args.device, args.dtype)
    for key, modes in times.items():
        result[key] = {
            mode: dict(
                **harness.spread(t),
                units=statistics.median(t) / unit,
                best_units=min(t) / min(units),
            )
            for mode, t in modes.items()
        }
    forward = operations(ours, x)
    for mode, passes in (
        ('forward', 1),
        ('both', 3),
    ):  # the gradients of the input and of the weights need as much time as a forward each
        limit = passes * forward / rate * 1e3 / batch
        result['ours'][mode] |= dict(limit_ms=limit, limit=limit / min(times['ours'][mode]))
    return result


def interleaved(models: dict[str, Candidate], x: torch.Tensor, args) -> tuple[dict, list[float]]:
    """Return milliseconds per image by candidate and mode, and those of the unit."""
    times = {key: {mode: [] for mode in candidate.modes} for key, candidate in models.items()}
    units = []
    for round_ in range(args.repeats + 1):
        for key, candidate in models.items():
            for mode in candidate.modes:
                before = time.perf_counter()
                piece_of_work(args.device)
                unit = (time.perf_counter() - before) * 1e3
                elapsed = step(candidate, x, mode == 'both', args.dtype)
                if round_:  # the first round is the warm-up
                    units.append(unit)
                    times[key][mode].append(elapsed / len(x))
    return times, units


def memory_in_turns(
    candidate: Candidate, x: torch.Tensor, args
) -> dict[str, dict[str, list[float]]]:
    """Return milliseconds per image by mode, with freed memory kept and returned in turns.

    A step after each switch is the warm-up.
    """
    from mmbsa.utils.memory import keep_freed_memory

    times = {key: {mode: [] for mode in candidate.modes} for key in ('given back', 'kept')}
    for _ in range(args.repeats):
        for key, modes in times.items():
            if not keep_freed_memory(key == 'kept'):
                raise SystemExit(
                    '--keep-memory: the C library here has no such switch, or MALLOC_* variables '
                    'are set'
                )
            step(candidate, x, True, args.dtype)
            for mode, found in modes.items():
                found.append(step(candidate, x, mode == 'both', args.dtype) / len(x))
    return times


def operations(candidate: Candidate, x: torch.Tensor) -> int:
    """Return multiplications and additions of convolutions and matrix products in one forward.

    The backward is not counted, because torch's counter treats grouped convolutions as dense there.
    """
    from torch.utils.flop_counter import FlopCounterMode

    import mmbsa.ops.flops  # noqa: F401  counts the ops of mmbsa

    with FlopCounterMode(display=False) as counter:
        step(candidate, x, False)
    return counter.get_total_flops()


def memory(name: str, args) -> dict:
    """Return the peak MiB of one model in addition to the memory before it ran, and the peak of
    the tensors of one step.

    On a CPU the first is resident memory of this process; on CUDA, allocated memory.
    """
    from mmbsa.utils.memory import peak_memory

    x = images(name, args)
    if args.keep_memory:
        from mmbsa.utils.memory import keep_freed_memory

        keep_freed_memory()
    if args.worker == 'memory':
        model, reset = build(name), None
    elif args.worker == 'memory-beside':
        model, reset = build_beside(name, args)
    else:
        model, reset = build_spikingjelly(name)
    if args.worker == 'memory-memopt':
        from spikingjelly.activation_based import memopt

        layers = torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Linear
        model = memopt.optimize_memory(model, layers, lambda model: model(x), level=1)
        reset(model)
    candidate = Candidate(model.to(args.device), reset=reset)
    cuda = args.device.startswith('cuda')
    before = torch.cuda.memory_allocated() if cuda else harness.resident()
    for _ in range(3):
        step(candidate, x, True, args.dtype)
    peak = (
        torch.cuda.max_memory_allocated()
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    tensors = peak_memory(lambda: step(candidate, x, True, args.dtype), args.device)
    return dict(mib=(peak - before) / 2**20, tensors=tensors / 2**20)


def kept_until_backward(name: str, args) -> dict:
    """Return bytes by holder, and those of parameters and their gradients."""
    x, model = images(name, args), build(name).to(args.device)
    device, on = x.device.type, args.dtype != torch.float32

    def forward():
        with torch.autocast(device, args.dtype, on):
            return model(x)

    size = 2 * sum(p.numel() * p.element_size() for p in model.parameters())
    return dict(saved=saved.held(model, forward), parameters=size)


#: part of a training step -> words in the names of its operations; the first match is used.
PARTS = {
    'attention': ('bipolar_attention',),
    'neurons': ('mmbsa::lif', 'mmbsa_lif', 'integer_spike'),
    'convolution, backward': ('convolution_backward', 'conv_weight_grad', 'ConvolutionBackward'),
    'convolution, forward': ('conv2d', 'convolution'),
    'norms': ('norm',),
    'matrix products': ('mm', 'addmv', 'matmul'),
    'pooling, resizing': ('pool', 'upsample'),
}


def profile(name: str, args) -> dict:
    """Return milliseconds of a training step by part.

    An operation inside an op of mmbsa counts as that op.
    """
    from torch.profiler import ProfilerActivity

    x = images(name, args)
    candidate = candidates(name, args, x)['ours']
    cuda = args.device.startswith('cuda')
    step(candidate, x, True, args.dtype)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with torch.profiler.profile(activities=activities) as record:
        step(candidate, x, True, args.dtype)
    parts = collections.Counter()
    for event in record.events():
        chain, up = [event.name], event.cpu_parent
        while up is not None:
            chain.append(up.name)
            up = up.cpu_parent
        chain = [name for name in chain if 'mmbsa' in name] or chain
        part = next(
            (
                part
                for part, names in PARTS.items()
                if any(n in name for name in chain for n in names)
            ),
            'sums, products, copies',
        )
        parts[part] += (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e3
    return dict(parts)


def run_worker(kind: str, name: str, args, keep_memory: bool = False, **env) -> dict:
    """Run a separate process and return its result; ``env`` adds environment variables."""
    dtype = str(args.dtype).removeprefix('torch.')
    command = [sys.executable, __file__, '--worker', kind, '--models', name, '--dtype', dtype]
    for key in ('threads', 'repeats', 'device', 'size', 'batch'):
        if getattr(args, key):
            command += [f'--{key}', str(getattr(args, key))]
    command += [
        f'--{key.replace("_", "-")}'
        for key in ('twin', 'inference', 'no_spikingjelly')
        if getattr(args, key)
    ]
    if name in args.beside:
        path, function = args.beside[name]
        command += ['--beside', f'{name}={path}:{function}']
    command += ['--keep-memory'] * keep_memory
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--models',
        nargs='+',
        default=[
            'espikeformer-m',
            'espikeformer-m-bsa',
            'espikeformer-m-seg',
            'espikeformer-m-seg-bsa',
        ],
    )
    parser.add_argument(
        '--size', type=int, help='side of the image; default 224, 512 for -seg and -segmentor'
    )
    parser.add_argument('--batch', type=int, help='batch size; default 2, or 1 at 512')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--dtype', default='float32', choices=['float32', 'bfloat16', 'float16'], help="autocast's"
    )
    parser.add_argument('--twin', action='store_true', help='run the dense twin too')
    parser.add_argument(
        '--inference',
        action='store_true',
        help='measure eval mode, folded norms, and on CUDA a CUDA graph too',
    )
    parser.add_argument(
        '--keep-memory', action='store_true', help='measure the effect of keeping freed memory'
    )
    parser.add_argument('--profile', action='store_true', help='split the time of a training step')
    parser.add_argument(
        '--memory', action='store_true', help='measure the tensors between forward and backward'
    )
    parser.add_argument('--json', type=Path, metavar='OUT', help='write every figure')
    parser.add_argument('--plot', type=Path, metavar='OUT.png', help='draw time and memory')
    parser.add_argument(
        '--compare',
        type=Path,
        nargs=2,
        metavar=('A.json', 'B.json'),
        help='print B / A in units and stop',
    )
    parser.add_argument('--no-spikingjelly', action='store_true')
    parser.add_argument(
        '--beside',
        nargs='+',
        default=[],
        metavar='MODEL=FILE.py:FUNCTION',
        help='run the module that the function returns in turns with the model',
    )
    parser.add_argument(
        '--no-tests', action='store_true', help='skip the tests, e.g. if they have just passed'
    )
    parser.add_argument(
        '--worker',
        choices=[
            *('speed', 'memory', 'memory-spikingjelly', 'memory-memopt', 'memory-beside'),
            *('held', 'profile'),
        ],
        help=argparse.SUPPRESS,
    )
    args = parser.parse_args()
    if args.compare:
        print(
            harness.compare(
                args.compare, lambda row: (row['name'], row['code'], row['mode']), unit='units'
            )
        )
        return
    args.dtype = getattr(torch, args.dtype)
    args.beside = besides(args.beside, args.models)
    torch.set_num_threads(args.threads)
    if args.worker:
        workers = dict(speed=measure, profile=profile, held=kept_until_backward)
        work = workers.get(args.worker, memory)
        print(json.dumps(work(args.models[0], args)))
        return
    if not args.no_tests:
        harness.gate(*TESTS)
    machine = harness.machine(args.device, args.dtype)
    results = []
    for name in args.models:
        result = run_worker('speed', name, args, args.keep_memory)
        result['ours'] |= run_worker('memory', name, args)
        for other in {'spikingjelly', 'beside'} & result.keys():
            result[other] |= run_worker(f'memory-{other}', name, args)
        if args.keep_memory:
            result['kept']['mib'] = run_worker('memory', name, args, True)['mib']
        if args.memory:
            result['held'] = run_worker('held', name, args)
            give_back = dict(MALLOC_MMAP_THRESHOLD_='1048576')
            result['held']['given back'] = run_worker('memory', name, args, **give_back)
            if 'spikingjelly' in result:
                result['held']['memopt'] = run_worker('memory-memopt', name, args)
            if 'beside' in result:
                other = run_worker('memory-beside', name, args, **give_back)
                result['held']['beside given back'] = other
        if args.profile:
            result['profile'] = run_worker('profile', name, args)
        results.append(result)
        print(model_tables.table([result]).splitlines()[-1], flush=True)
    unit = statistics.median(r['unit_ms'] for r in results)
    tables = [
        model_tables.table,
        *[model_tables.kept_table] * args.keep_memory,
        *[saved.table] * args.memory,
        *[model_tables.inference_table] * args.inference,
        *[model_tables.profile_table] * args.profile,
    ]
    print(
        f'\n{machine["dtype"]}, unit {unit:.2f} ms\n\n'
        + '\n\n'.join(draw(results) for draw in tables)
    )
    if args.json:
        harness.write(
            args.json, dict(machine=machine, results=results, rows=model_tables.rows(results))
        )
    if args.plot:
        model_tables.plot(results, args.plot)


if __name__ == '__main__':
    main()
