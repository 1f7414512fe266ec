"""Drawn instances: exact boxes and masks, stock pipeline and metric, messages for wrong
arguments."""

import numpy as np
import pytest

pytest.importorskip('mmdet')
from mmengine.registry import DefaultScope  # noqa: E402

import mmbsa.utils.mmcv_ops  # noqa: E402, F401
from mmbsa.datasets.drawn_instances import DrawnInstances  # noqa: E402
from mmbsa.datasets.scene_painter import CLASSES, draw_objects, draw_scene  # noqa: E402
from mmbsa.datasets.transforms.draw_scene import MIN_PIXELS, instances  # noqa: E402

PIPELINE = [
    dict(type='mmbsa.DrawScene', outputs=('image', 'instances')),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'instances')),
]


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def test_draw_objects_is_draw_scene_with_numbers():
    image, labels, numbers, objects = draw_objects(np.random.default_rng(5), (96, 128))
    again = draw_scene(np.random.default_rng(5), (96, 128))
    assert np.array_equal(image, again[0]) and np.array_equal(labels, again[1])
    for number, (label, covered) in enumerate(objects, 1):
        mask = numbers == number
        assert (labels[mask] == label).all() and mask.sum() <= covered
    assert set(np.unique(labels[numbers == 0])) <= {CLASSES.index('sky'), CLASSES.index('ground')}
    assert numbers.max() <= len(objects)


def test_instances_are_the_visible_pixels():
    from pycocotools import mask as masks

    thing = {CLASSES.index('car'): 0, CLASSES.index('person'): 1}
    seen = 0
    for seed in range(20):
        _, labels, numbers, objects = draw_objects(np.random.default_rng(seed), (96, 128))
        found = instances(numbers, objects, thing)
        for item in found:
            mask = masks.decode(item['mask']).astype(bool)
            x1, y1, x2, y2 = item['bbox']
            assert mask[y1:y2, x1:x2].sum() == mask.sum() >= MIN_PIXELS
            assert (
                mask[y1].any()
                and mask[y2 - 1].any()
                and mask[:, x1].any()
                and mask[:, x2 - 1].any()
            )
            assert (
                labels[mask] == [CLASSES.index('car'), CLASSES.index('person')][item['bbox_label']]
            ).all()
        seen += len(found)
    assert seen > 20


def test_mostly_hidden_objects_are_crowds():
    numbers = np.zeros((20, 20), np.uint8)
    numbers[:10, :10], numbers[10:, 10:] = 1, 2
    found = instances(numbers, [(4, 100), (4, 1000)], {4: 0})
    assert [item['ignore_flag'] for item in found] == [0, 1]


def test_stock_pipeline_and_metric_take_it():
    dataset = DrawnInstances(
        length=4, size=(96, 128), split='val', pipeline=PIPELINE, test_mode=True
    )
    from mmdet.evaluation import CocoMetric

    metric = CocoMetric(metric=['bbox', 'segm'])
    metric.dataset_meta = dataset.metainfo
    for item in dataset:
        sample = item['data_samples']
        truth = sample.gt_instances
        assert len(truth.masks) == len(truth.bboxes) == len(truth.labels)
        sample.pred_instances = truth.__class__(
            bboxes=truth.bboxes.tensor,
            labels=truth.labels,
            scores=truth.labels.new_ones(len(truth)).float(),
            masks=__import__('torch').from_numpy(truth.masks.masks.astype(bool)),
        )
        metric.process({}, [sample.to_dict()])
    scores = metric.evaluate(size=4)
    assert scores['coco/bbox_mAP'] == scores['coco/segm_mAP'] == 1


def test_classes_can_be_chosen():
    dataset = DrawnInstances(length=1, metainfo=dict(classes=('tree', 'car')))
    assert dataset[0]['thing_labels'] == {CLASSES.index('tree'): 0, CLASSES.index('car'): 1}


def test_pictures_have_the_stated_size():
    info = DrawnInstances(length=1, size=(48, 80)).get_data_info(0)
    assert (info['height'], info['width']) == info['scene_size'] == (48, 80)


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(split='dev'), 'mmbsa.DrawnInstances: split must be'),
        (dict(length=0), 'length must be'),
        (dict(size=(96, 8)), 'size must be'),
        (dict(metainfo=dict(classes=('boat',))), "metainfo.classes must be .*'boat'"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        DrawnInstances(**wrong)


def test_other_samples_are_refused():
    from mmbsa.datasets.transforms import DrawScene

    with pytest.raises(KeyError, match='thing_labels'):
        DrawScene(('image', 'instances'))(dict(scene_seed=0, scene_index=0, scene_size=(64, 64)))
