"""COCO files: what is wrong is named with the file and the id; single boxes are mmdet's
business."""

import json

import pytest

pytest.importorskip('mmdet')
from mmbsa.datasets.coco import CocoDataset  # noqa: E402

GOOD = dict(
    images=[
        dict(id=7, file_name='a.png', height=20, width=30),
        dict(id=8, file_name='b.png', height=20, width=30),
    ],
    annotations=[
        dict(id=1, image_id=7, category_id=3, bbox=[2, 3, 10, 5], area=50),
        dict(id=2, image_id=7, category_id=3, bbox=[40, 3, 10, 5], area=50),  # outside
        dict(id=3, image_id=7, category_id=3, bbox=[2, 3, 0, 5], area=0),
    ],  # of no width
    categories=[dict(id=3, name='cup')],
)


def load(tmp_path, content, **kwargs):
    path = tmp_path / 'labels.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return CocoDataset(
        **{
            'ann_file': str(path),
            'metainfo': dict(classes=('cup',)),
            'pipeline': [],
            'data_prefix': dict(img=''),
            **kwargs,
        }
    )


def test_boxes_outside_and_of_no_size_are_left_out(tmp_path):
    dataset = load(tmp_path, GOOD)
    assert [len(dataset[i]['instances']) for i in range(2)] == [1, 0]
    assert dataset[0]['instances'][0]['bbox'] == [2, 3, 12, 8]


def test_images_without_boxes_are_dropped_where_asked_for(tmp_path):
    assert len(load(tmp_path, GOOD, filter_cfg=dict(filter_empty_gt=True))) == 1


def test_dataset_is_picklable(tmp_path):
    import pickle

    assert len(pickle.loads(pickle.dumps(load(tmp_path, GOOD)))) == 2


def changed(section, index, **values):
    content = json.loads(json.dumps(GOOD))
    for key, value in values.items():
        if value is None:
            del content[section][index][key]
        else:
            content[section][index][key] = value
    return content


@pytest.mark.parametrize(
    'content, message',
    [
        ('no json', 'labels.json.* is not a COCO file'),
        ('[1, 2]', 'is not a COCO file: expected the lists .* got list'),
        (dict(images=[]), r"expected the lists images, annotations, categories, got \['images'\]"),
        (changed('images', 0, height=None), 'labels.json.*images id=7 has no height'),
        (changed('annotations', 1, bbox=None), 'annotations id=2 has no bbox'),
        (changed('annotations', 0, bbox=[1, 2, 3]), r'annotation id=1 has bbox=\[1, 2, 3\]'),
        (
            changed('annotations', 0, bbox=[1, 2, 3, float('nan')]),
            r'id=1 has bbox=\[1, 2, 3, nan\]',
        ),
        (changed('annotations', 0, bbox=7), 'annotation id=1 has bbox=7, expected the numbers'),
        (
            dict(GOOD, images=[7]),
            'labels.json.* is not a COCO file: images should hold objects, got 7',
        ),
        (changed('annotations', 2, image_id=99), 'annotation id=3 is of image_id=99'),
        (changed('categories', 0, name='mug'), r"lacks the categories \['cup'\]; it has \['mug'\]"),
    ],
)
def test_wrong_files_are_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, content)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.json'):
        CocoDataset(
            ann_file=str(tmp_path / 'nowhere.json'),
            metainfo=dict(classes=('cup',)),
            pipeline=[],
            data_prefix=dict(img=''),
        )
