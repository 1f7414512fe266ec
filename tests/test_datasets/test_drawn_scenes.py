"""The drawn dataset: deterministic, disjoint splits, stock pipelines, and not solvable by
colour."""

import numpy as np
import pytest

from mmbsa.datasets.scene_painter import CLASSES, OBJECTS, PALETTE, draw_scene, paste

SIZE = (144, 192)


def scene(seed, index, size=SIZE):
    return draw_scene(np.random.default_rng((seed, index)), size)


def scenes(seed, number):
    images, labels = zip(*(scene(seed, i) for i in range(number)))
    return np.stack(images), np.stack(labels)


def mean_iou(prediction, labels):
    k = len(CLASSES)
    hits = np.bincount(
        labels.ravel().astype(int) * k + prediction.ravel(), minlength=k * k
    ).reshape(k, k)
    return 100 * np.mean(np.diag(hits) / (hits.sum(0) + hits.sum(1) - np.diag(hits)))


@pytest.mark.parametrize('size', [(32, 32), (33, 57), (144, 192), (300, 128)])
def test_scene_has_the_size_asked_for(size):
    for index in range(20):
        image, labels = scene(0, index, size)
        assert image.shape == (*size, 3) and image.dtype == np.uint8
        assert labels.shape == size and labels.dtype == np.uint8 and labels.max() < len(CLASSES)


def test_same_seed_same_scene():
    first, again, other = scene(3, 14), scene(3, 14), scene(3, 15)
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not np.array_equal(first[0], other[0]) and not np.array_equal(first[1], other[1])


def test_every_class_occurs_often():
    _, labels = scenes(0, 100)
    share = np.bincount(labels.ravel(), minlength=len(CLASSES)) / labels.size
    assert share.min() > 0.01, dict(zip(CLASSES, share.round(3)))
    assert np.mean([len(np.unique(one)) for one in labels]) > 4.5


@pytest.mark.parametrize('label', sorted(OBJECTS))
def test_sprites_fill_and_hide(label):
    sprite = OBJECTS[label][0](np.random.default_rng(label), 40, 60)
    picture, mask = sprite
    assert (
        picture.shape == (40, 60, 3) and mask.shape == (40, 60) and set(np.unique(mask)) <= {0, 1}
    )
    assert (
        0.1 < mask.mean() and np.isfinite(picture).all() and picture[mask > 0].std() > 1
    )  # textured
    image, labels = np.zeros((50, 70, 3), np.float32), np.full((50, 70), 99, np.uint8)
    paste(
        image, labels, sprite, label, left=-20, bottom=45
    )  # cropped on the left, hides what was there
    assert np.array_equal(labels[5:45, :40] == label, mask[:, 20:] > 0)
    assert np.array_equal(image[5:45, :40][mask[:, 20:] > 0], picture[:, 20:][mask[:, 20:] > 0])
    assert (labels[:, 40:] == 99).all() and (labels[45:] == 99).all() and (labels[:5] == 99).all()
    before = labels.copy()
    paste(image, labels, sprite, label, left=200, bottom=45)
    assert np.array_equal(labels, before)


@pytest.mark.parametrize('bins', [8, 16])
@pytest.mark.parametrize('balanced', [False, True])
def test_colour_alone_does_not_solve_it(bins, balanced):
    """The best classifier of one pixel's colour (a joint RGB histogram fitted on 150 scenes) stays
    below 35 on others."""
    k = len(CLASSES)

    def code(image):
        r, g, b = np.moveaxis(image.astype(int) * bins // 256, -1, 0)
        return (r * bins + g) * bins + b

    images, labels = scenes(0, 150)
    prior = np.bincount(labels.ravel(), minlength=k) / labels.size
    counts = (
        np.bincount(code(images).ravel() * k + labels.ravel(), minlength=bins**3 * k).reshape(-1, k)
        + 0.01 * prior
    )
    table = (counts / prior if balanced else counts).argmax(1)
    images, labels = scenes(1, 40)
    score = mean_iou(table[code(images)], labels)
    assert 5 < score < 35, score


@pytest.mark.seg
class TestDataset:
    def build(self, **kwargs):
        from mmengine.registry import init_default_scope
        from mmseg.registry import DATASETS

        init_default_scope('mmseg')
        return DATASETS.build(
            {'type': 'mmbsa.DrawnScenes', 'length': 12, 'size': (64, 96), **kwargs}
        )

    def test_stock_pipeline_follows(self):
        data = self.build(
            pipeline=[
                dict(type='mmbsa.DrawScene'),
                dict(type='RandomResize', scale=(96, 64), ratio_range=(0.5, 2.0), keep_ratio=True),
                dict(type='RandomCrop', crop_size=(48, 48), cat_max_ratio=0.75),
                dict(type='RandomFlip', prob=0.5),
                dict(type='PhotoMetricDistortion'),
                dict(type='PackSegInputs'),
            ]
        )
        assert len(data) == 12
        for index in range(12):
            sample = data[index]
            assert sample['inputs'].shape[0] == 3 and max(sample['inputs'].shape[1:]) <= 48
            assert sample['data_samples'].gt_sem_seg.shape == sample['inputs'].shape[1:]
            assert sample['data_samples'].img_path == f'drawn_train_{index:06d}.png'

    def test_splits_share_no_scene(self):
        pipeline = [dict(type='mmbsa.DrawScene')]
        splits = [self.build(split=split, pipeline=pipeline) for split in ('train', 'val', 'test')]
        images = [data[i]['img'].tobytes() for data in splits for i in range(12)]
        assert len(set(images)) == 36

    def test_dataset_equals_the_painter(self):
        sample = self.build(split='val', pipeline=[dict(type='mmbsa.DrawScene')])[7]
        image, labels = scene(1, 7, (64, 96))
        assert np.array_equal(sample['img'], image) and np.array_equal(sample['gt_seg_map'], labels)

    def test_metainfo_and_other_classes(self):
        data = self.build(pipeline=[dict(type='mmbsa.DrawScene')])
        assert tuple(data.metainfo['classes']) == CLASSES and list(
            data.metainfo['palette']
        ) == list(PALETTE)
        two = self.build(
            pipeline=[dict(type='mmbsa.DrawScene')], metainfo=dict(classes=('car', 'sky'))
        )
        before, after = data[0]['gt_seg_map'], two[0]['gt_seg_map']
        assert set(np.unique(after)) <= {0, 1, 255}
        assert np.array_equal(after == 0, before == CLASSES.index('car'))
        assert np.array_equal(after == 1, before == CLASSES.index('sky'))

    def test_half_outputs_for_test_time_augmentation(self):
        sample = self.build(pipeline=[dict(type='mmbsa.DrawScene', outputs='image')])[0]
        assert 'img' in sample and 'gt_seg_map' not in sample and sample['seg_fields'] == []

    @pytest.mark.parametrize(
        'kwargs, word',
        [
            (dict(split='dev'), 'split'),
            (dict(length=0), 'length'),
            (dict(size=(8, 8)), 'size'),
            (dict(reduce_zero_label=True), 'zero'),
        ],
    )
    def test_bad_arguments_name_the_key(self, kwargs, word):
        with pytest.raises(ValueError, match=word):
            self.build(**kwargs)

    def test_drawing_something_else_is_refused(self):
        from mmbsa.registry import TRANSFORMS

        with pytest.raises(ValueError, match='outputs'):
            TRANSFORMS.build(dict(type='mmbsa.DrawScene', outputs='boxes'))
        with pytest.raises(KeyError, match='DrawnScenes'):
            TRANSFORMS.build(dict(type='mmbsa.DrawScene'))(dict(img_path='a.png'))
