"""The loading step of the drawn datasets."""

from collections.abc import Mapping, Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from mmbsa.datasets.scene_painter import draw_objects
from mmbsa.registry import TRANSFORMS

OUTPUTS = ('image', 'labels', 'instances')
#: instances with a smaller share of visible pixels are marked as crowds; training and COCO's metric
#: ignore crowds.
VISIBLE = 0.25
#: instances with fewer visible pixels are removed.
MIN_PIXELS = 16


@TRANSFORMS.register_module()
class DrawScene(BaseTransform):
    """Draw the scene that a sample of ``mmbsa.DrawnScenes`` or ``mmbsa.DrawnInstances`` describes.

    It replaces the loading of files in a stock pipeline.

    Required keys: ``scene_seed``, ``scene_index``, ``scene_size`` (height, width); ``seg_fields``
    for labels, ``thing_labels`` (label of a scene -> label of a detector) for instances.
    Added keys: ``img`` (uint8 BGR, (H, W, 3)), ``img_shape``, ``ori_shape``; ``gt_seg_map`` (uint8,
    (H, W)); ``instances``, a list as mmdet's ``LoadAnnotations`` reads it: boxes x1, y1, x2, y2
    around the visible pixels, in pixels, and their masks in COCO's run-length encoding.

    Args:
        outputs: outputs to add: ``'image'``, ``'labels'`` and ``'instances'``; image and labels by
            default. Test-time augmentation draws the labels after its resizing, where stock
            pipelines load annotations.

    Raises:
        ValueError: an output is unknown, or a sample has no required key.
    """

    def __init__(self, outputs: Sequence[str] = ('image', 'labels')) -> None:
        outputs = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        if not outputs or set(outputs) - set(OUTPUTS):
            raise ValueError(f'mmbsa.DrawScene: outputs must be some of {OUTPUTS}, got {outputs!r}')
        self.outputs = outputs

    def transform(self, results: dict) -> dict:
        """Add the drawn image and labels to ``results``."""
        needed = {
            'scene_seed',
            'scene_index',
            'scene_size',
            *(['thing_labels'] if 'instances' in self.outputs else []),
        }
        missing = needed - set(results)
        if missing:
            raise KeyError(
                'mmbsa.DrawScene needs samples of mmbsa.DrawnScenes, or of mmbsa.DrawnInstances '
                'for '
                f'instances; this one lacks {sorted(missing)}'
            )
        rng = np.random.default_rng((results['scene_seed'], results['scene_index']))
        img, labels, numbers, objects = draw_objects(rng, results['scene_size'])
        if 'image' in self.outputs:
            results['img'] = img
            results['img_shape'] = results['ori_shape'] = img.shape[:2]
        if 'labels' in self.outputs:
            if results.get('label_map') is not None:  # the config selects other or fewer classes
                table = np.arange(256, dtype=np.uint8)
                table[list(results['label_map'])] = list(results['label_map'].values())
                labels = table[labels]
            results['gt_seg_map'] = labels
            results['seg_fields'].append('gt_seg_map')
        if 'instances' in self.outputs:
            results['instances'] = instances(numbers, objects, results['thing_labels'])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(outputs={self.outputs})'


def instances(
    numbers: np.ndarray, objects: Sequence[tuple[int, int]], thing_labels: Mapping[int, int]
) -> list[dict]:
    """Return the objects of a scene as instances of mmdet.

    Args:
        numbers: numbers of objects, uint8 (H, W), from
            :func:`mmbsa.datasets.scene_painter.draw_objects`.
        objects: (label, number of pixels) of every object, from the same function.
        thing_labels: label of a scene -> label of a detector; objects of other labels are removed.
    """
    from pycocotools import mask as masks  # comes with mmdet

    found = []
    for number, (label, covered) in enumerate(objects, 1):
        mask = numbers == number
        visible = int(mask.sum())
        if label not in thing_labels or visible < MIN_PIXELS:
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        code = masks.encode(np.asfortranarray(mask.astype(np.uint8)))
        found.append(
            dict(
                bbox=[int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1],
                bbox_label=thing_labels[label],
                ignore_flag=int(visible < VISIBLE * covered),
                mask=dict(size=list(code['size']), counts=code['counts'].decode()),
            )
        )
    return found
