"""CamVid: the class table, and the real photos where they are at hand."""

import json

import numpy as np
import pytest


def build(root, split, **kwargs):
    from mmengine.registry import init_default_scope
    from mmseg.registry import DATASETS

    init_default_scope('mmseg')
    return DATASETS.build(
        dict(
            type='mmbsa.CamVidDataset',
            data_root=str(root),
            data_prefix=dict(img_path=f'images/{split}', seg_map_path=f'annotations/{split}'),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations'),
                dict(type='PackSegInputs'),
            ],
            **kwargs,
        )
    )


@pytest.mark.seg
@pytest.mark.parametrize('split, number', [('train', 367), ('val', 101), ('test', 233)])
def test_real_photos(shared_path, split, number):
    data = build(shared_path('data/camvid'), split)
    assert len(data) == number
    for index in (0, number - 1):
        sample = data[index]
        labels = sample['data_samples'].gt_sem_seg.data.numpy()
        assert sample['inputs'].shape == (3, 360, 480) and labels.shape == (1, 360, 480)
        assert set(np.unique(labels)) <= {*range(11), 255} and len(np.unique(labels)) > 5


@pytest.mark.seg
def test_table_is_that_of_the_data(shared_path):
    from mmbsa.datasets import CamVidDataset

    meta = json.loads(shared_path('data/camvid/meta.json').read_text())
    assert list(CamVidDataset.METAINFO['classes']) == meta['classes']
    assert CamVidDataset.METAINFO['palette'] == meta['palette']


@pytest.mark.seg
def test_camvid_reads_its_layout(tmp_path):
    import cv2

    for folder, ending in (('images', 'jpg'), ('annotations', 'png')):
        (tmp_path / folder / 'val').mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / 'val' / f'a.{ending}'), np.full((6, 8), 10, np.uint8))
    data = build(tmp_path, 'val')
    assert len(data) == 1 and data.metainfo['classes'][10] == 'bicyclist'
    assert len(data.metainfo['palette']) == 11
    assert (data[0]['data_samples'].gt_sem_seg.data == 10).all()


@pytest.mark.seg
def test_hidden_files_do_not_count_and_endings_have_any_case(tmp_path):
    import cv2

    for folder, ending in (('images', 'jpg'), ('annotations', 'png')):
        (tmp_path / folder / 'val' / 'deep').mkdir(parents=True)
        for name, level in (('a', 1), ('deep/b', 2)):
            assert cv2.imwrite(
                str(tmp_path / folder / 'val' / f'{name}.{ending}'),
                np.full((6, 8), level, np.uint8),
            )
            hidden = tmp_path / folder / 'val' / name
            hidden.with_name(f'._{hidden.name}.{ending}').write_bytes(b'Mac OS X')
        (tmp_path / folder / 'val' / f'a.{ending}').rename(
            tmp_path / folder / 'val' / f'a.{ending.upper()}'
        )
    data = build(tmp_path, 'val')
    assert len(data) == 2
    assert [int(sample['data_samples'].gt_sem_seg.data[0, 0, 0]) for sample in data] == [1, 2]


@pytest.mark.seg
def test_photos_with_another_ending_are_named(tmp_path):
    (tmp_path / 'images' / 'val').mkdir(parents=True)
    for name in ('a.png', '._b.jpg'):
        (tmp_path / 'images' / 'val' / name).write_bytes(b'x')
    with pytest.raises(FileNotFoundError, match=r'no \*.jpg in .*images/val, there are \*.png'):
        build(tmp_path, 'val')


@pytest.mark.seg
def test_a_list_of_names_is_read_as_mmseg_does(tmp_path):
    (tmp_path / 'list.txt').write_text('a\nb\n')
    data = build(tmp_path, 'val', ann_file='list.txt', lazy_init=False)
    assert [data.get_data_info(i)['img_path'] for i in range(2)] == [
        str(tmp_path / 'images' / 'val' / f'{name}.jpg') for name in 'ab'
    ]
