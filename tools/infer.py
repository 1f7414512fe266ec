"""Segment a picture or a folder of pictures, and save image | prediction with a legend.

    python tools/infer.py photo.jpg configs/bsa_camvid.py work_dirs/bsa_camvid/iter_2000.pth --out overlays
"""
import argparse
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine import Config, DictAction
from mmengine.utils import ProgressBar
from mmseg.apis import inference_model, init_model

from mmbsa.models.layers import fuse
from mmbsa.utils.checkpoint import make_loading_safe
from mmbsa.visualization import side_by_side, write_image

ENDINGS = {'.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp'}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('input', type=Path, help='a picture, or a folder that is searched with its subfolders')
    parser.add_argument('config', type=Path, help='config of the model')
    parser.add_argument('checkpoint', type=Path, help='its weights')
    parser.add_argument('--out', type=Path, required=True, help='folder of the overlays; subfolders are kept')
    parser.add_argument('--labels', action='store_true', help='also save the label maps, as <name>.labels.png')
    parser.add_argument('--device', default='cuda:0' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--opacity', type=float, default=0.6, help='of the colours over the picture, 0 to 1')
    parser.add_argument('--fuse', action='store_true', help='fold norms into convolutions first: faster, rounds differently')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override the config, key=value')
    args = parser.parse_args(argv)
    for path in (args.input, args.config, args.checkpoint):
        if not path.exists():
            parser.error(f'{path} does not exist')
    if not 0 <= args.opacity <= 1:
        parser.error(f'--opacity must be between 0 and 1, got {args.opacity}')
    return args


def find_pictures(source: Path, out: Path) -> dict[Path, Path]:
    """Map every picture to the path of its overlay; overlays of an earlier run under ``out`` are not read again."""
    if source.is_file():
        return {source: out / f'{source.stem}.png'}
    files = sorted(path for path in source.rglob('*') if path.suffix.lower() in ENDINGS and path.is_file()
                   and out.resolve() not in path.resolve().parents)
    stems = Counter(path.with_suffix('') for path in files)
    return {path: out / path.relative_to(source).with_name(
        f'{path.stem if stems[path.with_suffix("")] == 1 else path.name}.png') for path in files}


def read_picture(path: Path) -> np.ndarray:
    """Read a picture as BGR uint8 (H, W, 3), or raise ``ValueError`` with its name."""
    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise ValueError('not a readable picture')
    return image


def main(argv=None) -> int:
    args = parse_args(argv)
    pictures = find_pictures(args.input, args.out)
    if not pictures:
        print(f'{args.input}: no pictures there (looked for {", ".join(sorted(ENDINGS))})', file=sys.stderr)
        return 1
    make_loading_safe()
    model = init_model(Config.fromfile(args.config), str(args.checkpoint), args.device, args.cfg_options)
    if args.fuse:
        model = fuse(model)
    meta, failed = model.dataset_meta, []
    bar = ProgressBar(len(pictures))
    for path, target in pictures.items():
        try:
            image = read_picture(path)
            labels = inference_model(model, image).pred_sem_seg.data[0].cpu().numpy()
            overlay = side_by_side(image[..., ::-1], {'prediction': labels}, meta['classes'], meta['palette'],
                                   args.opacity)
            write_image(target, overlay)
            if args.labels:
                kind = np.uint8 if len(meta['classes']) <= 256 else np.uint16
                write_image(target.with_suffix('.labels.png'), labels.astype(kind))
        except Exception as error:  # one bad picture must not cost the others; it is reported below
            failed.append(f'{path}: {error}' if isinstance(error, ValueError) else f'{path}: {error!r}')
        bar.update()
    print(f'\n{len(pictures) - len(failed)} of {len(pictures)} pictures saved under {args.out}')
    for line in failed:
        print(f'failed: {line}', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
