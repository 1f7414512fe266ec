"""Measure models in several runtimes: latency, memory, size of the file.

    python tools/deployment/benchmark.py CONFIG [CONFIG ...] --size 224 224 --batches 1 8

Runtimes: ``torch``, ``compiled`` (``torch.compile``), ``aoti`` (a package of AOTInductor, which
takes minutes to compile), ``onnxruntime`` (the float graph with folded norms), ``int8``
(onnxruntime's static 8-bit version of it) and ``integer`` (the integer graph in onnxruntime). Every
measurement runs in a separate process; another process writes the files before. ``CPU ms`` is the
smallest processor time of a run, which other processes on the machine hardly change. ``memory`` is
the largest resident set of the measuring process, so for graphs it does not include PyTorch.
``file`` of the first two runtimes is the size of the weights. Weights are random unless
``--checkpoint`` is given; no runtime here exploits zeros.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from options import positive

RUNTIMES = ('torch', 'compiled', 'aoti', 'onnxruntime', 'int8', 'integer')
GRAPHS = RUNTIMES[3:]


def write_files(args: argparse.Namespace, config: str, folder: str) -> dict[str, str]:
    """Write the graphs of a model, and return runtime -> error."""
    from export import examples, load

    from mmbsa.deploy import export_aoti, export_int8, export_onnx
    from mmbsa.deploy.integer import IntegerNetwork, export_integer
    from mmbsa.models.layers import fuse

    model, wrong = load(config, args.checkpoint), {}
    path, inputs = Path(folder) / 'onnxruntime.onnx', examples(model, args.size)
    for runtime in (name for name in RUNTIMES[2:] if name in args.runtimes):
        try:
            if runtime == 'aoti':
                export_aoti(fuse(model), inputs, Path(folder) / 'aoti.pt2')
            if runtime in ('onnxruntime', 'int8') and not path.exists():
                export_onnx(fuse(model), inputs, path)
            if runtime == 'int8':
                export_int8(path, [inputs], Path(folder) / 'int8.onnx')
            if runtime != 'integer':
                continue
            pixels = _pixels((1, *inputs[0].shape[1:]))
            network = IntegerNetwork(model, pixels)
            for batch in args.batches:
                export_integer(network, Path(folder) / f'integer{batch}.onnx', batch)
        except Exception as error:
            wrong[runtime] = _line(error)
    return wrong


def _pixels(shape) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _line(error: Exception) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'


def runner(args: argparse.Namespace, runtime: str, config: str, batch: int, folder: str):
    """Return a function without arguments that runs the model once, and the bytes of its file."""
    if runtime in GRAPHS:
        import onnxruntime

        path = Path(folder) / (
            f'integer{batch}.onnx' if runtime == 'integer' else f'{runtime}.onnx'
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )
        feed = {}
        for node in session.get_inputs():
            shape = [batch if isinstance(n, str) else n for n in node.shape]
            pixels = _pixels(shape)
            feed[node.name] = pixels if 'uint8' in node.type else (pixels - np.float32(118)) / 58
        return lambda: session.run(None, feed), path.stat().st_size
    import torch
    from export import examples, load

    from mmbsa.deploy.export import Predictor
    from mmbsa.models.layers import fuse

    torch.set_num_threads(args.threads)
    model = fuse(load(config, args.checkpoint))
    inputs = examples(model, args.size, batch)
    if runtime == 'aoti':
        path = Path(folder) / 'aoti.pt2'
        package = torch._inductor.aoti_load_package(str(path))
        return lambda: package(*inputs), path.stat().st_size
    predict = Predictor(model)
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    predict = torch.compile(predict) if runtime == 'compiled' else predict

    def run():
        with torch.no_grad():
            return predict(*inputs)

    return run, size


def measure(args, runtime: str, config: str, batch: int, folder: str) -> list[str]:
    """Return the cells of the table: median ms, CPU ms, MiB of memory, MiB of the file."""
    try:
        run, file = runner(args, runtime, config, batch, folder)
        run()
        times = []
        for _ in range(args.runs):
            start = time.perf_counter(), time.process_time()
            run()
            end = time.perf_counter(), time.process_time()
            times.append([1e3 * (b - a) for a, b in zip(start, end)])
    except Exception as error:
        return [_line(error)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    wall, used = zip(*times)
    return [f'{x:.1f}' for x in (statistics.median(wall), min(used), peak, file / 2**20)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('configs', nargs='+')
    parser.add_argument('--checkpoint', help='weights; only with a single config')
    parser.add_argument(
        '--size', nargs=2, type=positive, default=(224, 224), metavar=('HEIGHT', 'WIDTH')
    )
    parser.add_argument('--batches', nargs='+', type=positive, default=[1, 8])
    parser.add_argument('--runs', type=positive, default=10)
    parser.add_argument('--threads', type=positive, default=1)
    parser.add_argument('--runtimes', nargs='+', choices=RUNTIMES, default=RUNTIMES)
    args = parser.parse_args()
    if args.checkpoint and len(args.configs) > 1:
        parser.error('--checkpoint needs a single config')
    return args


def main() -> None:
    args, failed = parse(), False
    print('| model | batch | runtime | median ms | CPU ms | memory MiB | file MiB |')
    print('|---|---|---|---|---|---|---|', flush=True)
    # one task per process: memory of one runtime is not counted for the next
    with multiprocessing.get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        for config in args.configs:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    wrong = pool.apply(write_files, (args, config, folder))
                except (OSError, ValueError) as error:  # of the config or the checkpoint
                    sys.exit(f'error: {error}')
                for batch in args.batches:
                    for runtime in args.runtimes:
                        cells = [wrong[runtime]] if runtime in wrong else None
                        cells = cells or pool.apply(measure, (args, runtime, config, batch, folder))
                        failed |= len(cells) == 1
                        name = f'{Path(config).stem} | {batch} | {runtime}'
                        print(f'| {name} | {" | ".join(cells)} |', flush=True)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
