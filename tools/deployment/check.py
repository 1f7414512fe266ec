"""Compare an ONNX file with the model from which it was exported, on photos.

    python tools/deployment/check.py CONFIG CHECKPOINT model.onnx --images FOLDER --size 224 224

It prints the largest difference and the share of equal predictions. The exit status is 1 if the
difference exceeds ``--tolerance`` or a prediction differs. For a file of ``export.py --boxes``,
give ``--boxes``: the differences are those of boxes (relative to the longer side of the image),
scores and masks, and the predictions are the classes.
"""

import argparse
import sys

import numpy as np
import torch
from export import boxes_of, load, one_image
from options import positive
from PIL import Image

from mmbsa.apis.inference import in_channels
from mmbsa.deploy.export import Predictor
from mmbsa.utils.listing import visible_files

SUFFIXES = {'.jpg', '.jpeg', '.png', '.bmp'}


def photos(folder: str, size: tuple[int, int], number: int, channels: int = 3) -> np.ndarray:
    """Return photos of a folder and its subfolders, resized: uint8 (number, channels, H, W).

    Args:
        folder: the folder.
        size: (height, width) in pixels.
        number: number of photos.
        channels: 3 (RGB, default) or 1 (grey).

    Raises:
        ValueError: the folder has no photos, or ``channels`` is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ValueError(f'--images has photos of 1 or 3 channels, but the model takes {channels}')
    files = visible_files(folder, SUFFIXES, recursive=True)
    if not files:
        raise ValueError(f'{folder}: there is no file that ends in {", ".join(sorted(SUFFIXES))}')
    files = files[:: max(len(files) // number, 1)][:number]
    mode = 'RGB' if channels == 3 else 'L'
    pixels = [np.asarray(Image.open(file).convert(mode).resize(size[::-1])) for file in files]
    stacked = np.stack(pixels).reshape(len(files), *size, channels)
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))


def normalise(pixels: np.ndarray, preprocessor) -> torch.Tensor:
    """Normalise photos as a model's data preprocessor does: float32 of the same shape."""
    x = torch.from_numpy(pixels).float()
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    return (x - 128) / 64 if mean is None else (x - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('file', help='the ONNX file')
    parser.add_argument('--images', required=True, help='folder of photos')
    parser.add_argument(
        '--size', nargs=2, type=positive, default=(224, 224), metavar=('HEIGHT', 'WIDTH')
    )
    parser.add_argument('--number', type=positive, default=16, help='of photos')
    parser.add_argument('--tolerance', type=float, default=1e-5)
    parser.add_argument('--boxes', action='store_true', help='the file is from export.py --boxes')
    args = parser.parse_args()
    import onnxruntime

    try:
        model = load(args.config, args.checkpoint)
        one_image(model, 'check.py')
        pixels = photos(args.images, args.size, args.number, in_channels(model))
        x = normalise(pixels, getattr(model, 'data_preprocessor', None))
        session = onnxruntime.InferenceSession(args.file, providers=['CPUExecutionProvider'])
        predictor = boxes_of(model, args.size) if args.boxes else Predictor(model)
        name, found, expected = session.get_inputs()[0].name, [], []
        for part in x.split(1) if args.boxes else [x]:
            with torch.no_grad():
                out = predictor(part)
            out = out if isinstance(out, tuple) else (out,)
            expected += [out[0] / max(args.size), *out[1:]] if args.boxes else out
            out = session.run(None, {name: part.numpy()})
            found += [out[0] / max(args.size), *out[1:]] if args.boxes else out
        shapes = [[tuple(y.shape) for y in part] for part in (found, expected)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f'{args.file} is from another model than {args.config}: outputs of {shapes[0]}, '
                f'expected {shapes[1]}'
            )
    except Exception as error:  # onnxruntime's errors have no common class
        sys.exit(f'error: {" ".join(str(error).split())}')
    worst, equal = 0.0, []
    for a, b in zip(found, expected):
        a = torch.from_numpy(a)
        if args.boxes and not a.is_floating_point():
            equal.append((a == b).double().mean())
            continue
        difference = float((a - b).abs().max()) if a.numel() else 0.0
        worst = max(worst, difference if difference == difference else float('inf'))
        if args.boxes:
            continue
        channels = -3 if a.dim() > 3 else 1  # spiking heads have (T, B, C, H, W)
        equal.append((a.argmax(channels) == b.argmax(channels)).double().mean())
    share = float(sum(equal) / len(equal))
    print(f'{len(x)} photos: largest difference {worst:.3g}, equal predictions {share:.4%}')
    sys.exit(0 if worst <= args.tolerance and share == 1 else 1)


if __name__ == '__main__':
    main()
