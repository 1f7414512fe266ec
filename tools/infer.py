"""Save predictions of a model for a picture, a recording, or a folder of them.

    python tools/infer.py photo.jpg configs/bsa_camvid.py iter_2000.pth --out overlays

Files are read by the test pipeline of the config: photos, grey pictures, event recordings.
Segmentors give image and prediction with a legend, classifiers the sample with its class. Input
files are never overwritten: if an overlay would replace one, its name is <name>.overlay.png.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from mmengine import DictAction
from mmengine.utils import ProgressBar

from mmbsa.apis import Inferencer
from mmbsa.datasets.event_files import ENDINGS
from mmbsa.utils.launch import read_config
from mmbsa.utils.listing import visible_files
from mmbsa.visualization import write_image

PICTURES = {'.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp'}
#: endings of what this tool writes
OURS = ('.overlay.png', '.labels.png')


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'input',
        type=Path,
        help='picture or recording, or a folder that is searched with its subfolders',
    )
    parser.add_argument('config', type=Path, help='config of the model')
    parser.add_argument('checkpoint', type=Path, help='its weights')
    parser.add_argument(
        '--out', type=Path, required=True, help='folder of the overlays; subfolders are kept'
    )
    parser.add_argument(
        '--labels', action='store_true', help='save the label maps too, as <name>.labels.png'
    )
    parser.add_argument('--device', default='cuda:0' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--opacity', type=float, default=0.6, help='opacity of the colours, 0 to 1; default 0.6'
    )
    parser.add_argument(
        '--fuse',
        action='store_true',
        help='fold norms into convolutions first: faster, but rounds differently',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override the config, key=value'
    )
    args = parser.parse_args(argv)
    for path in (args.input, args.config, args.checkpoint):
        if not path.exists():
            parser.error(f'{path} does not exist')
    if not 0 <= args.opacity <= 1:
        parser.error(f'--opacity must be between 0 and 1, got {args.opacity}')
    return args


def find_files(source: Path, out: Path, endings: set[str]) -> list[Path]:
    """Return the files to read, without the results of earlier runs under ``out``."""
    if source.is_file():
        return [source]
    here, there = source.resolve(), out.resolve()
    files = visible_files(source, endings, recursive=True)
    if here in there.parents:  # a folder inside the source contains only overlays
        files = [path for path in files if there not in path.resolve().parents]
    if here != there and there not in here.parents:
        return files
    originals = {path.with_suffix('') for path in files} | set(files)
    return [
        path
        for path in files
        if not any(
            path.name.endswith(end) and path.parent / path.name.removesuffix(end) in originals
            for end in OURS
        )
    ]


def name_targets(files: list[Path], source: Path, out: Path) -> dict[Path, tuple[Path, Path]]:
    """Return file -> (overlay, label map); no path is an input file, and no path occurs twice."""
    root = source.parent if source.is_file() else source
    among = out.resolve() == root.resolve()  # then only names with .overlay are safe
    stems = Counter(path.with_suffix('') for path in files)
    taken = {path.resolve() for path in files}
    targets = {}
    for path in files:
        bare = path.stem if stems[path.with_suffix('')] == 1 else path.name
        folder = out / path.relative_to(root).parent
        tries = [(bare, '.png')] * (not among) + [
            (bare, '.overlay.png'),
            (path.name, '.overlay.png'),
        ]
        tries += [(f'{path.name}.{number}', '.overlay.png') for number in range(1, len(files) + 2)]
        for name, ending in tries:
            pair = folder / f'{name}{ending}', folder / f'{name}.labels.png'
            if not taken & {target.resolve() for target in pair}:
                break
        taken |= {target.resolve() for target in pair}
        targets[path] = pair
    return targets


def main(argv=None) -> int:
    args = parse_args(argv)
    inferencer = Inferencer(
        read_config(args.config), args.checkpoint, args.device, args.cfg_options, fuse=args.fuse
    )
    endings = PICTURES if inferencer.reader.frames is None else set(ENDINGS)
    targets = name_targets(find_files(args.input, args.out, endings), args.input, args.out)
    if not targets:
        print(
            f'{args.input}: no file to read (searched for {", ".join(sorted(endings))})',
            file=sys.stderr,
        )
        return 1
    bar, failed = ProgressBar(len(targets)), []
    for path, (target, label_target) in targets.items():
        try:
            if not path.stat().st_size:
                raise ValueError('the file is empty')
            result = inferencer(path, opacity=args.opacity)
            write_image(target, result['visualization'])
            labels = result['predictions']
            if args.labels and isinstance(labels, np.ndarray):
                small = len(inferencer.classes) <= 256
                write_image(label_target, labels.astype(np.uint8 if small else np.uint16))
        except Exception as error:  # one bad picture must not stop the others; it is reported below
            failed.append(
                f'{path}: {error}' if isinstance(error, ValueError) else f'{path}: {error!r}'
            )
        bar.update()
    print(f'\n{len(targets) - len(failed)} of {len(targets)} pictures saved under {args.out}')
    for line in failed:
        print(f'failed: {line}', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
