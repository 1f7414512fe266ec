"""Boxes of event recordings: a generated miniature of Gen1, through stock steps and a detector."""

import copy

import numpy as np
import pytest
import torch
from event_writers import some_events, write_dat

pytest.importorskip('mmdet')
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.dataset import pseudo_collate  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402

import mmbsa.utils.mmcv_ops  # noqa: E402, F401
from mmbsa.datasets.event_boxes import EventBoxes  # noqa: E402
from mmbsa.datasets.transforms import LoadEventWindow  # noqa: E402
from mmbsa.events import BOX_DTYPE, integrate, slice_time  # noqa: E402

SIZE = (240, 304)


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def write_boxes(path, rows):
    boxes = np.zeros(len(rows), BOX_DTYPE)
    for row, values in zip(boxes, rows):
        row['t'], row['x'], row['y'], row['w'], row['h'], row['class_id'] = values
    np.save(path, boxes)


@pytest.fixture
def folder(tmp_path):
    """Two recordings of 1.2 s, labels at 0.4 s (too early), 0.8 s, 1.0 s."""
    for number in range(2):
        events = some_events(4000, SIZE, seed=number, span=1_200_000)
        write_dat(tmp_path / f'drive_{number}_td.dat', events)
        write_boxes(
            tmp_path / f'drive_{number}_bbox.npy',
            [
                (400_000, 10, 10, 50, 40, 0),
                (800_000, -20, 100, 60, 60, 0),
                (800_000, 200, 30, 30, 60, 1),
                (800_000, 5, 5, 8, 60, 1),
                (1_000_000, 290, 230, 60, 60, 0),
            ],
        )
        (tmp_path / f'._drive_{number}_bbox.npy').write_bytes(b'of macOS')
    return tmp_path


def test_samples_are_labelled_times(folder):
    dataset = EventBoxes(data_root=str(folder))
    assert [s['event_window'] for s in dataset] == [(600_000, 800_000), (800_000, 1_000_000)] * 2
    assert [s['img_id'] for s in dataset] == [0, 1, 2, 3] and dataset.metainfo['classes'] == (
        'car',
        'pedestrian',
    )
    first, second = dataset[0]['instances'], dataset[1]['instances']
    assert [item['bbox'] for item in first] == [[0, 100, 40, 160], [200, 30, 230, 90]], (
        'clipped; the thin one is left out'
    )
    assert [item['bbox_label'] for item in first] == [0, 1]
    assert [item['bbox'] for item in second] == [[290, 230, 304, 240]], 'the whole box counts'
    assert len(EventBoxes(data_root=str(folder), filter_empty=True)) == 4
    assert len(EventBoxes(data_root=str(folder), every=2)) == 2


@pytest.mark.parametrize(
    'sensor, side, other', [('gen1', 10, 28.3), ('gen1', 10, 28.2), ('1mpx', 20, 56.6)]
)
def test_boxes_are_filtered_as_in_the_official_toolbox(tmp_path, sensor, side, other):
    """t > 0.5 s, both sides >= 10 (20), diagonal >= 30 (60), of the box as it is annotated."""
    write_dat(tmp_path / 'a_td.dat', some_events(50, SIZE, seed=0, span=1_200_000))
    kept = [
        (600_000, 100, 100, side, other, 0),
        (600_000, 100, 100, other, side, 0),
        (600_000, -30, 100, 60, 60, 0),
    ]
    dropped = [
        (500_000, 100, 100, 70, 70, 0),
        (600_000, 100, 100, side - 0.1, 70, 0),
        (600_000, 100, 100, 70, side - 0.1, 0),
        (600_000, 100, 100, side, other - 1, 0),
        (600_000, -70, 100, 70, 70, 0),
        (600_000, 2000, 100, 70, 70, 0),
        (600_000, 100, 2000, 70, 70, 0),
    ]
    write_boxes(tmp_path / 'a_bbox.npy', kept + dropped)
    (sample,) = EventBoxes(sensor, data_root=str(tmp_path))
    long = np.hypot(side, other) >= 3 * side
    assert len(sample['instances']) == (3 if long else 1)
    assert sample['instances'][-1]['bbox'] == [0, 100, 30, 160]
    assert sample['sensor_size'] == {'gen1': (240, 304), '1mpx': (720, 1280)}[sensor]


def test_frames_are_the_events_of_the_window(folder):
    sample = EventBoxes(data_root=str(folder))[0]
    out = LoadEventWindow(num_frames=4)(sample)
    events = some_events(4000, SIZE, seed=0, span=1_200_000)
    for frame in range(4):
        start = 600_000 + 50_000 * frame
        expected = integrate(
            slice_time(events, start, start + 50_000), SIZE, 'number', num_frames=1
        )[0]
        assert np.array_equal(
            out['img'][..., 2 * frame : 2 * frame + 2].transpose(2, 0, 1), expected
        )
    assert (
        out['img'].sum() > 100
        and LoadEventWindow(4, max_count=1)(copy.copy(sample))['img'].max() == 1
    )


def test_detector_learns_and_is_judged(folder):
    from mmdet.evaluation import CocoMetric

    from mmbsa.registry import MODELS

    pipeline = [
        dict(type='mmbsa.LoadEventWindow', num_frames=3),
        dict(type='Resize', scale=(152, 120), keep_ratio=True),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='RandomFlip', prob=1.0),
        dict(
            type='PackDetInputs',
            meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
        ),
    ]
    dataset = EventBoxes(data_root=str(folder), pipeline=pipeline, filter_empty=True)
    batch = pseudo_collate([dataset[0], dataset[1]])
    model = MODELS.build(
        ConfigDict(
            dict(
                type='mmdet.RetinaNet',
                data_preprocessor=dict(type='mmbsa.EventDetDataPreprocessor', pad_size_divisor=16),
                backbone=dict(
                    type='mmbsa.ESpikeFormer',
                    num_steps=3,
                    in_channels=2,
                    out_indices=(2, 3),
                    arch=dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2),
                ),
                neck=dict(type='mmbsa.SpikeFPN', in_channels=[8, 16], out_channels=8),
                bbox_head=dict(
                    type='mmbsa.SpikeRetinaHead',
                    num_classes=2,
                    in_channels=8,
                    feat_channels=8,
                    stacked_convs=1,
                    anchor_generator=dict(
                        type='AnchorGenerator',
                        octave_base_scale=2,
                        scales_per_octave=1,
                        ratios=[1.0],
                        strides=[8, 16],
                    ),
                ),
                train_cfg=dict(
                    assigner=dict(
                        type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0
                    ),
                    sampler=dict(type='PseudoSampler'),
                    allowed_border=-1,
                    pos_weight=-1,
                    debug=False,
                ),
                test_cfg=dict(
                    nms_pre=50,
                    min_bbox_size=0,
                    score_thr=0.0,
                    nms=dict(type='nms', iou_threshold=0.5),
                    max_per_img=5,
                ),
            )
        )
    )
    data = model.data_preprocessor(batch, True)
    assert data['inputs'].shape == (2, 3, 2, 128, 160)
    assert data['inputs'][0, 1].sum() == batch['inputs'][0][2:4].sum() > 0
    losses = model(**data, mode='loss')
    sum(sum(v) if isinstance(v, list) else v for v in losses.values()).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.backbone.parameters())
    with torch.no_grad():
        outs = model.eval().val_step(batch)
    metric = CocoMetric(metric='bbox')
    metric.dataset_meta = dataset.metainfo
    metric.process({}, [sample.to_dict() for sample in outs])
    assert 0 <= metric.evaluate(size=2)['coco/bbox_mAP'] <= 1


def test_wrong_input_is_named(folder, tmp_path_factory):
    with pytest.raises(ValueError, match="sensor must be one of .*'gen4'"):
        EventBoxes('gen4')
    with pytest.raises(ValueError, match='window=0'):
        EventBoxes(window=0)
    with pytest.raises(ValueError, match='num_frames=0'):
        LoadEventWindow(num_frames=0)
    with pytest.raises(FileNotFoundError, match='no .*_bbox.npy in'):
        EventBoxes(data_root=str(tmp_path_factory.mktemp('empty')))
    write_boxes(folder / 'drive_1_bbox.npy', [(800_000, 10, 10, 50, 40, 2)])
    with pytest.raises(ValueError, match='drive_1_bbox.npy.*class 2'):
        EventBoxes(data_root=str(folder))
    (folder / 'drive_1_td.dat').unlink()
    with pytest.raises(FileNotFoundError, match='drive_1_bbox.npy: no recording drive_1_td.dat'):
        EventBoxes(data_root=str(folder))


@pytest.mark.parametrize('sensor, factor', [('gen1', 1), ('1mpx', 2)])
def test_a_box_at_the_least_diagonal_is_kept(tmp_path, sensor, factor):
    write_dat(tmp_path / 'a_td.dat', some_events(50, SIZE, seed=0, span=1_200_000))
    boxes = [(600_000, 100, 100, 18 * factor, height * factor, 0) for height in (24, 23.9)]
    write_boxes(tmp_path / 'a_bbox.npy', boxes)
    (sample,) = EventBoxes(sensor, data_root=str(tmp_path))
    kept = [item['bbox'] for item in sample['instances']]
    assert kept == [[100, 100, 100 + 18 * factor, 100 + 24 * factor]]
