"""Save pictures of the inputs that a config's pipeline gives to the model, with their labels.

    python tools/analysis_tools/browse_dataset.py configs/bsa_quickstart.py --out browse --number 20

It supports every task: pictures with label maps, classes or boxes, event frames, sequences,
tracking pairs, point clouds. No window opens. The same --seed gives the same augmentations.
"""

import argparse
import random
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine import Config, DictAction
from mmengine.registry import DATASETS, init_default_scope

from mmbsa.visualization import (
    draw_sample,
    frame_sheet,
    instances_side_by_side,
    side_by_side,
    titled,
    to_picture,
    write_image,
)
from mmbsa.visualization.instances import spread_palette
from mmbsa.visualization.overlay_hook import label_map, to_instances
from mmbsa.visualization.pictures import enlarge
from mmbsa.visualization.tracks import draw_track


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, help='config with the data')
    parser.add_argument('--out', type=Path, required=True, help='folder of the pictures')
    parser.add_argument(
        '--split', choices=['train', 'val', 'test'], default='train', help='default train'
    )
    parser.add_argument('--number', type=int, default=20, help='pictures to save; default 20')
    parser.add_argument('--start', type=int, default=0, help='index of the first sample; default 0')
    parser.add_argument('--seed', type=int, default=0, help='seed of augmentations; default 0')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override the config, key=value'
    )
    args = parser.parse_args(argv)
    if not args.config.is_file():
        parser.error(f'{args.config} does not exist')
    if args.number < 1 or args.start < 0:
        parser.error('--number must be at least 1, and --start at least 0')
    return args


def is_bgr(cfg: Config) -> bool:
    """Return whether pictures have BGR order, which the data preprocessor converts to RGB."""
    found = [cfg.get('data_preprocessor'), cfg.get('model', {}).get('data_preprocessor')]
    return any(part and (part.get('to_rgb') or part.get('bgr_to_rgb')) for part in found)


def unpack(inputs: torch.Tensor, bgr: bool) -> np.ndarray:
    """Convert a tensor to a picture, RGB uint8.

    It is (C, H, W), event frames (T, P, H, W) or (2 T, H, W), a sequence (C, 1, L), or points (P, 3
    or more).
    """
    x = inputs.numpy()
    if x.ndim == 2:
        return draw_points(x)
    if x.ndim == 4:
        return frame_sheet(x)
    if x.ndim != 3:
        raise ValueError(f'inputs of shape {x.shape} cannot be drawn')
    if x.shape[1] == 1 and x.shape[2] > 1:
        return fold(x[:, 0].T, bgr)
    if x.shape[0] > 3 and x.shape[0] % 2 == 0:
        return frame_sheet(x.reshape(-1, 2, *x.shape[1:]))
    return to_picture(x.transpose(1, 2, 0), bgr)


def fold(sequence: np.ndarray, bgr: bool) -> np.ndarray:
    """Draw a sequence (L, C): folded into rows, or one row per step if the steps are wide."""
    length, channels = sequence.shape
    if channels > 3:
        return to_picture(sequence)
    side = int(np.ceil(np.sqrt(length)))
    sheet = np.zeros((side * side, channels), sequence.dtype)
    sheet[:length] = sequence
    return to_picture(sheet.reshape(side, side, channels), bgr)


def draw_points(points: np.ndarray, side: int = 224) -> np.ndarray:
    """Draw three views of a cloud (P, 3 or more), along z, y and x, RGB uint8.

    Near points are dark.
    """
    xyz = points[:, :3]
    middle, span = (xyz.max(0) + xyz.min(0)) / 2, max(float(np.ptp(xyz, 0).max()), 1e-12)
    place = (0.5 + 0.9 * (xyz - middle) / span) * (side - 1)
    views = []
    for across, up, depth in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
        view = np.full((side, side, 3), 255, np.uint8)
        order = np.argsort(place[:, depth])
        shade = np.linspace(200, 0, len(order)).astype(np.uint8)
        columns, rows = place[order, across].astype(int), side - 1 - place[order, up].astype(int)
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            view[np.clip(rows + dy, 0, side - 1), np.clip(columns + dx, 0, side - 1)] = shade[
                :, None
            ]
        views.append(view)
    return np.hstack(views)


def draw_tracking(inputs: dict, sample) -> np.ndarray:
    """Draw template and search crop of a pair with the target, or the first frame of a sequence."""
    if 'frames' in inputs:
        frame = np.asarray(inputs['frames'][0])
        return draw_track(frame, sample.gt_boxes[0].tolist(), text=str(sample.sequence))
    template, search = (inputs[name].numpy().transpose(0, 2, 3, 1) for name in inputs)
    size = search.shape[1]
    found = draw_track(search, (sample.gt_box * size).tolist())
    first = cv2.resize(template.max(0), found.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return np.hstack([titled(first, 'template'), titled(found, 'search')])


def draw(packed: dict, meta: dict, bgr: bool) -> np.ndarray:
    """Draw a packed sample of any task, RGB uint8.

    Args:
        packed: ``inputs`` and ``data_samples`` from the last step of the pipeline.
        meta: ``classes`` and ``palette`` of the data set.
        bgr: whether three channels are in the order BGR.
    """
    inputs, sample = packed['inputs'], packed['data_samples']
    if isinstance(inputs, dict):
        return draw_tracking(inputs, sample)
    classes = meta.get('classes')
    if 'gt_label' in sample and inputs.ndim in (3, 4) and inputs.shape[1] > 1:
        return draw_sample(inputs.numpy(), sample, classes, bgr)
    picture = unpack(inputs, bgr)
    if 'gt_sem_seg' in sample:
        palette = meta.get('palette') or spread_palette(len(classes))
        labels = {'ground truth': label_map(sample.gt_sem_seg)}
        return side_by_side(picture, labels, classes, palette)
    if 'gt_instances' in sample:
        palette = meta.get('palette') or spread_palette(len(classes))
        truth = {'ground truth': to_instances(sample.gt_instances)}
        return instances_side_by_side(picture, truth, classes, palette)
    picture = enlarge(picture, 224)
    if 'gt_label' in sample:
        names = [
            classes[label] if classes is not None and label < len(classes) else str(label)
            for label in sample.gt_label.tolist()
        ]
        picture = titled(picture, ', '.join(names))
    return picture


def main(argv=None) -> int:
    args = parse_args(argv)
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    loader = cfg.get(f'{args.split}_dataloader')
    if not loader or 'dataset' not in loader:
        print(f'error: {args.config} has no {args.split}_dataloader.dataset', file=sys.stderr)
        return 1
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    dataset, saved = DATASETS.build(loader.dataset), 0
    if args.start >= len(dataset):
        print(f'error: --start {args.start}: there are {len(dataset)} samples', file=sys.stderr)
        return 1
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    for index in range(args.start, min(args.start + args.number, len(dataset))):
        packed = dataset[index]
        path = getattr(packed['data_samples'], 'img_path', None) or ''
        name = f'{index:05d}_{Path(path).stem}'.rstrip('_')
        picture = draw(packed, dataset.metainfo or {}, is_bgr(cfg))
        write_image(args.out / f'{name}.png', picture)
        saved += 1
    print(f'{saved} of {len(dataset)} samples saved under {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
