"""A segmentation dataset without files: every sample is drawn when it is loaded."""

from collections.abc import Sequence

from mmseg.datasets import BaseSegDataset

from mmbsa.datasets.scene_painter import CLASSES, PALETTE, SPLIT_SEEDS, check_scenes
from mmbsa.registry import DATASETS


@DATASETS.register_module()
class DrawnScenes(BaseSegDataset):
    """Street scenes in seven classes, drawn deterministically from (split, index).

    Scene ``i`` of a split is the same on every machine, in every process and in every run. The
    pipeline starts with ``mmbsa.DrawScene`` in place of the loading of files; the steps after it
    are unchanged. Colours come from overlapping palettes under a random light, so they hardly
    identify a class; a network must use shape and texture.

    Args:
        length: number of scenes, 1000 by default.
        size: (height, width) of a scene in pixels, each at least 32; (160, 160) by default.
        split: ``'train'`` (default), ``'val'`` or ``'test'``; two splits have no scene in common.
        kwargs: arguments of ``mmseg.datasets.BaseSegDataset`` (pipeline, metainfo, indices, ...).

    Raises:
        ValueError: the split is unknown, or the length or size is invalid.
    """

    METAINFO = dict(classes=CLASSES, palette=PALETTE)

    def __init__(
        self, length: int = 1000, size: Sequence[int] = (160, 160), split: str = 'train', **kwargs
    ) -> None:
        size = check_scenes('mmbsa.DrawnScenes', length, size, split)
        if kwargs.get('reduce_zero_label'):
            raise ValueError(
                'mmbsa.DrawnScenes: reduce_zero_label must stay False, label 0 is the sky'
            )
        self.length, self.size, self.split = length, size, split
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Describe every scene by its seed, index and size.

        ``img_path`` is only a name for logs and pictures.
        """
        return [
            dict(
                img_path=f'drawn_{self.split}_{index:06d}.png',
                scene_seed=SPLIT_SEEDS[self.split],
                scene_index=index,
                scene_size=self.size,
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for index in range(self.length)
        ]
