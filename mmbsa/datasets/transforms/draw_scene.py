"""The loading step of the drawn dataset."""
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from mmbsa.datasets.scene_painter import draw_scene
from mmbsa.registry import TRANSFORMS

OUTPUTS = ('image', 'labels')


@TRANSFORMS.register_module()
class DrawScene(BaseTransform):
    """Draw the scene that a sample of ``mmbsa.DrawnScenes`` describes; stands where a stock pipeline loads files.

    Required keys: ``scene_seed``, ``scene_index``, ``scene_size`` (height, width), ``seg_fields``.
    Added keys: ``img`` (uint8 BGR, (H, W, 3)), ``img_shape``, ``ori_shape`` and ``gt_seg_map`` (uint8, (H, W)).

    Args:
        outputs: What to add: ``'image'``, ``'labels'`` or both. Test-time augmentation draws the labels after its
            resizing, as stock pipelines load annotations there.
    """

    def __init__(self, outputs: Sequence[str] = OUTPUTS) -> None:
        outputs = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        if not outputs or set(outputs) - set(OUTPUTS):
            raise ValueError(f'mmbsa.DrawScene: outputs must be some of {OUTPUTS}, got {outputs!r}')
        self.outputs = outputs

    def transform(self, results: dict) -> dict:
        """Add the drawn image and labels to ``results``."""
        missing = {'scene_seed', 'scene_index', 'scene_size'} - set(results)
        if missing:
            raise KeyError(f'mmbsa.DrawScene needs samples of mmbsa.DrawnScenes; this one lacks {sorted(missing)}')
        rng = np.random.default_rng((results['scene_seed'], results['scene_index']))
        img, labels = draw_scene(rng, results['scene_size'])
        if 'image' in self.outputs:
            results['img'] = img
            results['img_shape'] = results['ori_shape'] = img.shape[:2]
        if 'labels' in self.outputs:
            if results.get('label_map') is not None:  # the user asked for other or fewer classes
                table = np.arange(256, dtype=np.uint8)
                table[list(results['label_map'])] = list(results['label_map'].values())
                labels = table[labels]
            results['gt_seg_map'] = labels
            results['seg_fields'].append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(outputs={self.outputs})'
