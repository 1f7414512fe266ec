"""A detection dataset without files: boxes and masks of the objects in drawn scenes."""

from collections.abc import Sequence

from mmengine.dataset import BaseDataset

from mmbsa.datasets.scene_painter import CLASSES, OBJECTS, PALETTE, SPLIT_SEEDS, check_scenes
from mmbsa.registry import DATASETS

#: detected classes, unless ``metainfo.classes`` names others.
THINGS = ('car', 'person', 'sign')


@DATASETS.register_module()
class DrawnInstances(BaseDataset):
    """Cars, people and signs in the scenes of :class:`DrawnScenes`, with COCO boxes and masks.

    The pipeline starts with ``dict(type='mmbsa.DrawScene', outputs=('image', 'instances'))`` in
    place of the loading of images; mmdet's ``LoadAnnotations`` and the steps after it are
    unchanged. Use mmdet's ``CocoMetric`` without ``ann_file`` for evaluation; ``PackDetInputs``
    must keep the key ``instances``.

    Args:
        length: number of scenes, 1000 by default.
        size: (height, width) of a scene in pixels, each at least 32; (160, 160) by default.
        split: ``'train'`` (default), ``'val'`` or ``'test'``; two splits have no scene in common.
        kwargs: arguments of mmengine's ``BaseDataset``. ``metainfo=dict(classes=...)`` selects from
            ``car``, ``person``, ``sign``, ``building`` and ``tree``.

    Raises:
        ValueError: the split or a class is unknown, or the length or size is invalid.
    """

    METAINFO = dict(classes=THINGS, palette=[PALETTE[CLASSES.index(name)] for name in THINGS])

    def __init__(
        self, length: int = 1000, size: Sequence[int] = (160, 160), split: str = 'train', **kwargs
    ) -> None:
        self.length, self.size, self.split = (
            length,
            check_scenes('mmbsa.DrawnInstances', length, size, split),
            split,
        )
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Describe every scene by its seed, index and size.

        ``img_path`` is only a name for logs and pictures.
        """
        known = [CLASSES[label] for label in OBJECTS]
        strange = [name for name in self.metainfo['classes'] if name not in known]
        if strange:
            raise ValueError(
                f'mmbsa.DrawnInstances: metainfo.classes must be some of {known}, got {strange}'
            )
        things = {CLASSES.index(name): label for label, name in enumerate(self.metainfo['classes'])}
        return [
            dict(
                img_path=f'drawn_{self.split}_{index:06d}.png',
                img_id=index,
                height=self.size[0],
                width=self.size[1],
                scene_seed=SPLIT_SEEDS[self.split],
                scene_index=index,
                scene_size=self.size,
                thing_labels=things,
            )
            for index in range(self.length)
        ]
