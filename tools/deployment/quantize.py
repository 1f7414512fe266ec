"""Turn a trained classifier or segmentor into an integer network, and compare it with the float
one.

    python tools/deployment/quantize.py CONFIG CHECKPOINT --data FOLDER --out integer.onnx

Photos of FOLDER choose the step of the potentials. ``--fine-tune N`` first trains the folded
network for N steps with rounded weights on the config's training set. Both networks then run on the
config's test set and are judged by its evaluator. ``--out`` keeps the integer graph, ``--report``
the table of layers.
"""

import argparse
import sys
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from check import normalise, photos
from export import load, one_image
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from options import positive
from torch.utils.data import DataLoader, Subset

from mmbsa.apis.inference import in_channels
from mmbsa.deploy.export import Predictor, export_onnx
from mmbsa.deploy.int8 import export_int8
from mmbsa.deploy.integer import (
    IntegerNetwork,
    Rules,
    calibrate,
    export_integer,
    fine_tune,
)
from mmbsa.models.layers import fuse
from mmbsa.utils.files import atomic_open, check_output
from mmbsa.utils.launch import read_config


def batches(
    cfg: Config, part: str, size: int | None = None, samples: int | None = None
) -> DataLoader:
    """Return batches of a part of the config, loaded in this process.

    With ``samples``, they contain that number of samples at equal distances in the data set,
    because folders are sorted by class.
    """
    loader = dict(cfg[f'{part}_dataloader'], num_workers=0, persistent_workers=False)
    loader['batch_size'] = size or loader['batch_size']
    if part == 'test':
        loader['drop_last'] = False
    if samples:
        whole = DATASETS.build(loader['dataset'])
        chosen = np.linspace(0, len(whole), min(samples, len(whole)), False).astype(int)
        loader['dataset'] = Subset(whole, chosen.tolist())
    return Runner.build_dataloader(loader, seed=0)


def turns_channels(preprocessor) -> bool:
    """Return whether a data preprocessor converts BGR to RGB."""
    names = 'channel_conversion', '_channel_conversion', 'to_rgb'
    return any(getattr(preprocessor, name, False) for name in names)


def scores_of(model, logits: torch.Tensor, samples: list) -> list:
    """Return data samples with the predictions that the model's ``predict`` makes of logits."""
    if hasattr(model, 'postprocess_result'):
        return model.postprocess_result(logits, samples)
    for sample, score in zip(samples, logits):
        sample.set_pred_score(score.softmax(0)).set_pred_label(score.argmax())
    return samples


def compare(cfg: Config, model, shape: tuple, quantised, args) -> tuple[list[dict], dict]:
    """Compare the float network with ``quantised``, a function from uint8 pixels to logits.

    Returns:
        The metrics of both networks, and counts: samples, predictions, predictions that differ, and
        samples that only one of the networks classifies correctly.
    """
    predict, turned = Predictor(model), turns_channels(model.data_preprocessor)
    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    judges = [Evaluator(cfg.test_evaluator) for _ in range(2)]
    loader = batches(cfg, 'test', args.batch, args.samples)
    whole = loader.dataset.dataset if args.samples else loader.dataset
    for judge in judges:
        judge.dataset_meta = getattr(whole, 'metainfo', None)
    counts = dict.fromkeys(('samples', 'predictions', 'differ', 'lost', 'won'), 0)
    for batch in loader:
        sizes = {tuple(x.shape) for x in batch['inputs']}
        if sizes != {shape} or any(x.dtype != torch.uint8 for x in batch['inputs']):
            raise ValueError(
                f'test set of {args.config}: samples must be uint8 maps of {shape}, got '
                f'{sorted(sizes)}; give --size'
            )
        pixels = torch.stack(batch['inputs'])
        pixels = pixels.flip(1) if turned else pixels
        with torch.no_grad():
            both = predict((pixels.float() - mean) / std), quantised(pixels.numpy())
        first, second = (logits.argmax(1) for logits in both)
        counts['samples'] += len(pixels)
        counts['predictions'] += first.numel()
        counts['differ'] += int((first != second).sum())
        for sample, one, other in zip(batch['data_samples'], first, second):
            label = getattr(sample, 'gt_label', None)
            if label is not None and label.numel() == 1:
                counts['lost'] += int(one == label and other != label)
                counts['won'] += int(one != label and other == label)
        for judge, logits in zip(judges, both):
            samples = [sample.clone() for sample in batch['data_samples']]
            results = scores_of(model, logits, samples)
            judge.process([sample.to_dict() for sample in results], batch)
    return [judge.evaluate(counts['samples']) for judge in judges], counts


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--data', required=True, help='folder of photos for calibration')
    parser.add_argument('--number', type=positive, default=16, help='number of photos; default 16')
    parser.add_argument(
        '--size',
        nargs=2,
        type=positive,
        metavar=('HEIGHT', 'WIDTH'),
        help="height and width of the network's maps; default: of the first test sample",
    )
    parser.add_argument(
        '--format',
        choices=('integer', 'int8'),
        default='integer',
        help="int8: onnxruntime's static 8-bit graph, with float scales",
    )
    parser.add_argument('--batch', type=positive, default=4, help='maps per run')
    parser.add_argument(
        '--samples', type=positive, help='number of test samples, at equal distances; default: all'
    )
    parser.add_argument('--out', help='save the graph to this ONNX file')
    parser.add_argument('--report', help='write the table of layers to this Markdown file')
    parser.add_argument('--weight-bits', type=int, default=8)
    parser.add_argument(
        '--fraction',
        type=int,
        nargs='+',
        help='fractional bits of potentials to try, in this order',
    )
    parser.add_argument(
        '--multiply',
        action='store_true',
        help='allow multiplications and shifts for factors that are not powers of two',
    )
    parser.add_argument('--fine-tune', type=int, default=0, metavar='STEPS')
    parser.add_argument('--lr', type=float, default=1e-4, help='learning rate of --fine-tune')
    args = parser.parse_args()
    if args.format == 'int8' and (args.report or args.fine_tune):
        parser.error('--report and --fine-tune need --format integer')
    return args


def open_graph(path: Path):
    """Return an onnxruntime session of a file."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])


def integer_logits(network: IntegerNetwork, pixels: np.ndarray, folder: str, args):
    """Return the integer graph as a function of uint8 pixels; it is compared with the reference.

    Raises:
        ValueError: graph and reference differ.
        OverflowError: a potential of the test set does not fit its width.
    """
    path = Path(folder) / 'checked.onnx'
    export_integer(network, path, args.batch, checked=True)
    session = open_graph(path)

    def run(x: np.ndarray) -> np.ndarray:
        filled = np.concatenate([x, np.repeat(x[-1:], args.batch - len(x), 0)])
        found, fits = session.run(['output_0', 'fits'], dict(pixels=filled))
        if not fits:
            raise OverflowError(
                f'the test set of {args.config} has potentials that do not fit '
                f'{network.rules.potential_bits} bits at step 2^-{network.rules.fraction}: '
                'calibrate with more photos, or set a smaller --fraction'
            )
        return found[: len(x)]

    out = network.run(pixels[: args.batch])[0]
    if not (run(pixels[: args.batch]) == out.data).all():
        raise ValueError('the integer graph differs from the integer reference')
    real = 2.0**-out.fraction * out.unit
    return lambda x: torch.from_numpy(run(x)).float() * real


def int8_logits(model, pixels: np.ndarray, folder: str, args):
    """Return onnxruntime's static 8-bit graph, calibrated on photos, as a function of pixels."""
    preprocessor = model.data_preprocessor
    real, path = Path(folder) / 'float.onnx', Path(folder) / 'int8.onnx'
    x = normalise(pixels, preprocessor)
    export_onnx(fuse(model), (x[:2],), real)
    export_int8(real, [(x[i : i + 1],) for i in range(len(x))], path)
    session = open_graph(path)

    def run(x: np.ndarray) -> torch.Tensor:
        (found,) = session.run(None, dict(input_0=normalise(x, preprocessor).numpy()))
        return torch.from_numpy(found)

    return run


def quantise(model, pixels: np.ndarray, folder: str, args):
    """Quantise the network.

    Returns:
        The network as a function of uint8 pixels, a function that returns its graph as bytes, lines
        for the report, and the table of layers (None for int8).
    """
    if args.format == 'int8':
        function = int8_logits(model, pixels, folder, args)
        path = Path(folder) / 'int8.onnx'
        words = f'calibrated on {len(pixels)} photos: static int8 graph of onnxruntime, '
        return function, lambda: path.read_bytes(), [words + size_of(path)], None
    rules = Rules(weight_bits=args.weight_bits, multiply=args.multiply)
    lines = []
    if args.fine_tune:
        steps = islice(batches(read_config(args.config), 'train'), args.fine_tune)
        model, losses = fine_tune(model, steps, rules, args.lr)
        lines = [f'fine-tuning: {len(losses)} steps, loss {losses[0]:.4f} -> {losses[-1]:.4f}']
    options = dict(fractions=args.fraction) if args.fraction else {}
    network = calibrate(model, pixels, rules, **options)
    function, path = integer_logits(network, pixels, folder, args), Path(folder) / 'integer.onnx'
    export_integer(network, path, args.batch)
    lines += [
        f'calibrated on {len(pixels)} photos: step 2^-{network.rules.fraction}, weights of '
        f'{rules.weight_bits} bits, bit-equal to the reference, ' + size_of(path),
        'multiplications: ' + '; '.join(network.multiplications() or ['none']),
    ]
    return function, lambda: path.read_bytes(), lines, network.table()


def size_of(path: Path) -> str:
    """Return the size of a file as text."""
    return f'file of {path.stat().st_size / 2**20:.2f} MiB'


def run(args: argparse.Namespace) -> None:
    for option in ('out', 'report'):
        if getattr(args, option):
            inputs = args.config, args.checkpoint
            check_output(getattr(args, option), *inputs, option=f'--{option}')
    cfg = read_config(args.config)
    model = load(args.config, args.checkpoint)
    one_image(model, 'quantize.py')
    size = args.size or next(iter(batches(cfg, 'test', 1)))['inputs'][0].shape[-2:]
    pixels = photos(args.data, tuple(size), args.number, in_channels(model))
    with tempfile.TemporaryDirectory() as folder:
        quantised, graph, lines, table = quantise(model, pixels, folder, args)
        (floats, integers), counts = compare(cfg, model, pixels.shape[1:], quantised, args)
        content = graph()
    print('\n'.join(lines))
    print(f'| metric | float | {args.format} |\n|---|---|---|')
    for key in floats:
        print(f'| {key} | {floats[key]:.2f} | {integers[key]:.2f} |')
    share = counts['differ'] / counts['predictions']
    print(f'{counts["samples"]} samples; predictions that differ: {share:.2%}')
    lost, won = counts['lost'], counts['won']
    if lost or won:
        error = 100 * (lost + won) ** 0.5 / counts['samples']
        print(
            f'correct only as float: {lost}; only as {args.format}: {won}; standard error of the '
            f'difference of top-1: {error:.2f}'
        )
    # only now: an error above leaves no file
    written = dict(report=table and f'{table}\n'.encode(), out=content)
    for option, data in written.items():
        if getattr(args, option):
            with atomic_open(getattr(args, option)) as file:
                file.write(data)


def main() -> None:
    args = parse()
    try:
        run(args)
    except (ValueError, OSError, ImportError, OverflowError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
