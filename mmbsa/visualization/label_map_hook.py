"""Hook that saves predicted label maps, for example for an evaluation server."""

from collections.abc import Sequence

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmbsa.registry import HOOKS
from mmbsa.visualization.overlay import write_image
from mmbsa.visualization.overlay_hook import label_map
from mmbsa.visualization.pictures import SampleNames


@HOOKS.register_module()
class LabelMapHook(Hook):
    """Save the labels of every sample of a test as ``<out_dir>/<name>.png`` with one channel.

    The files are those of mmseg's ``IoUMetric(output_dir=...)`` (for datasets with
    ``reduce_zero_label`` 1 is added to the labels), for any evaluator. Files of the same name in
    different folders keep their folders. Files of the dataset are never overwritten.

    Args:
        out_dir: output folder.
    """

    priority = 'NORMAL'

    def __init__(self, out_dir: str) -> None:
        self.out_dir = out_dir
        self._names: SampleNames | None = None

    def before_test_epoch(self, runner: Runner) -> None:
        """Determine the names of the samples."""
        self._names = SampleNames(runner.test_loop.dataloader.dataset)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Save the maps of a batch."""
        for sample in outputs:
            labels = label_map(sample.pred_sem_seg) + bool(sample.get('reduce_zero_label'))
            labels = labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)
            write_image(self._names.target(self.out_dir, sample.img_path, '.png'), labels)
