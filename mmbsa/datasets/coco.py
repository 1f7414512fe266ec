"""COCO datasets that report errors of the annotation file by name."""

import json
import math
from collections.abc import Sequence
from functools import partial

from mmdet.datasets import CocoDataset as MMDetCocoDataset
from mmdet.datasets.api_wrappers import COCO

from mmbsa.registry import DATASETS

#: lists of a COCO file, and the keys of their items that detectors require.
NEEDED = dict(
    images=('id', 'file_name', 'height', 'width'),
    annotations=('id', 'image_id', 'category_id', 'bbox', 'area'),
    categories=('id', 'name'),
)


class CheckedCoco(COCO):
    """A checked COCO annotation file.

    Args:
        path: path of the file.
        name: name of the file in the config, for messages.
        classes: class names that the file must contain.

    Raises:
        ValueError: as in :class:`CocoDataset`.
        FileNotFoundError: the file does not exist.
    """

    def __init__(self, path: str, name: str, classes: Sequence[str]):
        super().__init__()
        try:
            with open(path, 'rb') as file:
                self.dataset = json.load(file)
        except FileNotFoundError:
            raise FileNotFoundError(f'ann_file={name!r} does not exist') from None
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f'ann_file={name!r} is not a COCO file: {error}') from None
        check_coco(self.dataset, name, classes)
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs


def check_coco(content: dict, name: str, classes: Sequence[str]) -> None:
    """Raise ValueError if the content is not a COCO data set with these classes.

    Args:
        content: content of the JSON file.
        name: name of the file in the config, for messages.
        classes: class names that the file must contain.
    """
    if not isinstance(content, dict) or any(
        not isinstance(content.get(key), list) for key in NEEDED
    ):
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f'ann_file={name!r} is not a COCO file: expected the lists {", ".join(NEEDED)}, got '
            f'{found}'
        )
    for section, keys in NEEDED.items():
        for item in content[section]:
            if not isinstance(item, dict):
                raise ValueError(
                    f'ann_file={name!r} is not a COCO file: {section} should hold objects, got '
                    f'{item!r}'
                )
            missing = [key for key in keys if key not in item]
            if missing:
                raise ValueError(
                    f'ann_file={name!r}: {section} id={item.get("id")!r} has no '
                    f'{", ".join(missing)}'
                )
    images = {image['id'] for image in content['images']}
    for item in content['annotations']:
        if item['image_id'] not in images:
            raise ValueError(
                f'ann_file={name!r}: annotation id={item["id"]!r} is of '
                f'image_id={item["image_id"]!r}, which '
                'is not among the images'
            )
        if not _is_box(item['bbox']):
            raise ValueError(
                f'ann_file={name!r}: annotation id={item["id"]!r} has bbox={item["bbox"]!r}, '
                'expected the numbers x, y, width, height'
            )
    names = {category['name'] for category in content['categories']}
    lacking = [label for label in classes if label not in names]
    if lacking:
        raise ValueError(
            f'ann_file={name!r} lacks the categories {lacking}; it has {sorted(names)}. Set '
            'dataset.metainfo.classes, and num_classes of the heads to their number'
        )


def _is_box(value) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(x, int | float) and math.isfinite(x) for x in value)
    )


@DATASETS.register_module()
class CocoDataset(MMDetCocoDataset):
    """mmdet's ``CocoDataset`` with a check of the annotation file.

    Single boxes are checked by mmdet: it skips boxes outside of the image and boxes of zero size,
    and ``filter_cfg.filter_empty_gt`` keeps or drops images without boxes.

    Args:
        args, kwargs: arguments of ``mmdet.CocoDataset``.

    Raises:
        ValueError: the file is not a COCO file, classes are missing, an image or an annotation has
            no required key, or the image of an annotation does not exist; the message names the
            file and the id.
        FileNotFoundError: the file does not exist.
    """

    def load_data_list(self) -> list[dict]:
        """Return the images with their instances."""
        self.COCOAPI = partial(CheckedCoco, name=self.ann_file, classes=self.metainfo['classes'])
        try:
            return super().load_data_list()
        finally:
            del self.COCOAPI  # a copy of the dataset in a worker does not need it
