"""Convert a trained classifier or segmentor to an integer network, and compare both.

    python tools/deployment/quantize.py CONFIG CHECKPOINT --data FOLDER --out integer.onnx

Photos in FOLDER determine the step of the potentials. ``--fine-tune N`` first trains the folded
network with rounded weights for N steps on the config's training set. Both networks then run on the
config's test set, and its evaluator compares them. ``--out`` saves the integer graph, ``--report``
the table of layers.
"""

import argparse
import sys
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from check import photos
from export import load
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmbsa.apis.inference import in_channels
from mmbsa.deploy.export import Predictor
from mmbsa.deploy.integer import Rules, calibrate, export_integer, fine_tune
from mmbsa.utils.files import atomic_open
from mmbsa.utils.launch import read_config


def batches(cfg: Config, part: str, size: int | None = None) -> DataLoader:
    """Return batches of a part of the config, loaded in this process."""
    loader = dict(cfg[f'{part}_dataloader'], num_workers=0, persistent_workers=False)
    loader['batch_size'] = size or loader['batch_size']
    if part == 'test':
        loader['drop_last'] = False
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


def compare(cfg: Config, model, session, real: float, args) -> tuple[dict, dict, float]:
    """Return metrics of both networks, and the share of different predictions."""
    (shape,) = (tuple(x.shape) for x in session.get_inputs())
    predict, turned = Predictor(model), turns_channels(model.data_preprocessor)
    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    judges = [Evaluator(cfg.test_evaluator) for _ in range(2)]
    loader = batches(cfg, 'test', args.batch)
    for judge in judges:
        judge.dataset_meta = getattr(loader.dataset, 'metainfo', None)
    differing = predictions = seen = 0
    for batch in loader:
        if args.samples and seen >= args.samples:
            break
        sizes = {tuple(x.shape) for x in batch['inputs']}
        if sizes != {shape[1:]} or any(x.dtype != torch.uint8 for x in batch['inputs']):
            raise ValueError(
                f'test set of {args.config}: samples must be uint8 maps of {shape[1:]}, got '
                f'{sorted(sizes)}; give --size'
            )
        pixels = torch.stack(batch['inputs'])
        pixels = pixels.flip(1) if turned else pixels
        with torch.no_grad():
            floats = predict((pixels.float() - mean) / std)
        filled = np.zeros(shape, np.uint8)
        filled[: len(pixels)] = pixels.numpy()
        scores = session.run(None, dict(pixels=filled))[0][: len(pixels)]
        integers = torch.from_numpy(scores).float() * real
        different = floats.argmax(1) != integers.argmax(1)
        differing, predictions = differing + int(different.sum()), predictions + different.numel()
        seen += len(pixels)
        for judge, logits in zip(judges, (floats, integers)):
            samples = [sample.clone() for sample in batch['data_samples']]
            results = scores_of(model, logits, samples)
            judge.process([sample.to_dict() for sample in results], batch)
    metrics = [judge.evaluate(seen) for judge in judges]
    return *metrics, differing / predictions


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--data', required=True, help='folder of photos for calibration')
    parser.add_argument('--number', type=int, default=16, help='number of photos; default 16')
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help="height and width of the network's maps; default: of the first test sample",
    )
    parser.add_argument('--batch', type=int, default=4, help='maps per run')
    parser.add_argument('--samples', type=int, help='number of test samples; default: all')
    parser.add_argument('--out', help='save the integer graph to this ONNX file')
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
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    import onnxruntime

    cfg = read_config(args.config)
    model = load(args.config, args.checkpoint)
    size = args.size or next(iter(batches(cfg, 'test', 1)))['inputs'][0].shape[-2:]
    pixels = photos(args.data, tuple(size), args.number, in_channels(model))
    rules = Rules(weight_bits=args.weight_bits, multiply=args.multiply)
    tuned = model
    if args.fine_tune:
        steps = islice(batches(cfg, 'train'), args.fine_tune)
        tuned, losses = fine_tune(model, steps, rules, args.lr)
        print(f'fine-tuning: {len(losses)} steps, loss {losses[0]:.4f} -> {losses[-1]:.4f}')
    options = dict(fractions=args.fraction) if args.fraction else {}
    network = calibrate(tuned, pixels, rules, **options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'integer.onnx'
        export_integer(network, path, args.batch)
        session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
        out = network.run(pixels[: args.batch])[0]
        filled = np.zeros((args.batch, *pixels.shape[1:]), np.uint8)
        filled[: len(out.data)] = pixels[: args.batch]
        found = session.run(None, dict(pixels=filled))[0][: len(out.data)]
        if not (found == out.data).all():
            raise ValueError('the integer graph differs from the integer reference')
        real = 2.0**-out.fraction * out.unit
        floats, integers, share = compare(cfg, model, session, real, args)
        written = path.read_bytes()
    if args.out:  # after all checks, so that an error leaves no file
        with atomic_open(args.out) as file:
            file.write(written)
    if args.report:
        Path(args.report).write_text(network.table() + '\n')
    print(
        f'calibrated on {len(pixels)} photos: step 2^-{network.rules.fraction}, weights of '
        f'{rules.weight_bits} bits, graph of {len(written) / 2**20:.2f} MiB, bit-equal to the '
        'reference'
    )
    print('multiplications: ' + '; '.join(network.multiplications() or ['none']))
    print('| metric | float | integer |\n|---|---|---|')
    for key in floats:
        print(f'| {key} | {floats[key]:.2f} | {integers[key]:.2f} |')
    print(f'predictions that differ: {share:.2%}')


def main() -> None:
    args = parse()
    try:
        run(args)
    except (ValueError, OSError, ImportError, OverflowError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
