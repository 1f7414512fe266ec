"""Measure models in several runtimes: latency, memory, size of the file.

    python tools/deployment/benchmark.py CONFIG [CONFIG ...] --size 224 224 --batches 1 8

Every runtime runs in a process of its own. ``memory`` is the largest resident set of that process,
the file ``model.onnx`` or the package included. Weights are random: rates of spikes differ from
those of trained networks, but no runtime here makes use of zeros.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from export import examples, load

from mmbsa.deploy import export_onnx
from mmbsa.deploy.export import Predictor

RUNTIMES = ('torch', 'compiled', 'onnxruntime')


def runner(runtime: str, model, inputs, folder: str, threads: int):
    """A function of no arguments that runs the model once, and the bytes of the file that the
    runtime reads."""
    if runtime == 'onnxruntime':
        import onnxruntime

        path = Path(folder) / 'model.onnx'
        export_onnx(model, inputs, path, dynamic=())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )
        feed = {f'input_{i}': x.numpy() for i, x in enumerate(inputs)}
        return lambda: session.run(None, feed), path.stat().st_size
    predict = Predictor(model)
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    predict = torch.compile(predict) if runtime == 'compiled' else predict
    return lambda: predict(*inputs), size


def measure(queue, runtime: str, config: str, size, batch: int, runs: int, threads: int) -> None:
    """Put (median ms, least ms, MiB of memory, MiB of the file) into the queue, or what went
    wrong."""
    try:
        torch.set_num_threads(threads)
        model = load(config, None)
        with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            run, file = runner(runtime, model, examples(model, size, batch), folder, threads)
            run()
            times = []
            for _ in range(runs):
                start = time.perf_counter()
                run()
                times.append(1e3 * (time.perf_counter() - start))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        queue.put((statistics.median(times), min(times), peak, file / 2**20))
    except Exception as error:
        queue.put(f'{type(error).__name__}: {" ".join(str(error).split())[:200]}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('configs', nargs='+')
    parser.add_argument(
        '--size', nargs=2, type=int, default=(224, 224), metavar=('HEIGHT', 'WIDTH')
    )
    parser.add_argument('--batches', nargs='+', type=int, default=[1, 8])
    parser.add_argument('--runs', type=int, default=10)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--runtimes', nargs='+', choices=RUNTIMES, default=RUNTIMES)
    args = parser.parse_args()
    context, failed = multiprocessing.get_context('spawn'), False
    print(
        '| model | batch | runtime | median ms | least ms | memory MiB | file MiB '
        '|\n|---|---|---|---|---|---|---|'
    )
    for config in args.configs:
        for batch in args.batches:
            for runtime in args.runtimes:
                queue = context.Queue()
                child = context.Process(
                    target=measure,
                    args=(queue, runtime, config, args.size, batch, args.runs, args.threads),
                )
                child.start()
                result = queue.get()
                child.join()
                failed |= isinstance(result, str)
                cells = (
                    [result] if isinstance(result, str) else [f'{number:.1f}' for number in result]
                )
                print(
                    f'| {Path(config).stem} | {batch} | {runtime} | {" | ".join(cells)} |',
                    flush=True,
                )
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
