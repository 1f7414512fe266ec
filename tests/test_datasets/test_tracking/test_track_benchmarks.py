"""Every benchmark's layout on disk, as a miniature; and what is said about a wrong one."""

import pickle

import cv2
import numpy as np
import pytest
import tiny_tracking
from mmengine.registry import DATASETS

from mmbsa.datasets.tracking import LAYOUTS, TrackingDataset
from mmbsa.datasets.tracking.layouts import VISEVENT_ATTRIBUTES

STACKED = ('FE108', 'VisEvent', 'FELT')


def build(layout, root, split='test', **kwargs):
    kwargs.setdefault('test_mode', True)
    return TrackingDataset(layout=layout, data_root=str(root), split=split, **kwargs)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_layout_is_read(layout, tmp_path):
    for name in ('b_seq', 'a_seq'):
        tiny_tracking.write_sequence(layout, tmp_path, 'test', name, absent=(3, 4))
    data = build(layout, tmp_path)
    assert len(data) == 2 and [data.get_data_info(i)['sequence'] for i in range(2)] == [
        'a_seq',
        'b_seq',
    ]
    info = pickle.loads(pickle.dumps(data.get_data_info(1)))  # as a worker process gets it
    np.testing.assert_array_equal(info['gt_boxes'], tiny_tracking.boxes(24))
    assert np.flatnonzero(info['absent']).tolist() == [3, 4]
    assert len(info['frames']) == 24
    for row in (0, 5, 23):  # row i of the annotation belongs to frame i, channels are RGB
        np.testing.assert_array_equal(info['frames'][row], tiny_tracking.frame(row)[None])


@pytest.mark.parametrize('layout', STACKED)
def test_frames_are_numbered_as_the_benchmark_does(layout, tmp_path):
    folder = tiny_tracking.write_sequence(layout, tmp_path, 'train', 'seq', steps=2)
    first = '0001_1.png' if layout == 'FE108' else '0000_1.png'
    files = sorted(file.name for file in (folder / 'inter2_stack_3008').iterdir())
    assert files[0] == first and len(files) == 48
    frames = build(layout, tmp_path, 'train', num_steps=2).get_data_info(0)['frames']
    assert frames[7].shape == (2, *tiny_tracking.SIZE, 3)
    assert frames[7][:, 0, 0, 0].tolist() == [10, 20] and frames[7][:, 0, 0, 2].tolist() == [7, 7]


def test_missing_sub_frame_is_replaced_by_the_first(tmp_path):
    folder = tiny_tracking.write_sequence('FELT', tmp_path, 'test', 'seq', steps=4)
    (folder / 'inter4_stack_3008' / '0005_3.png').unlink()
    (folder / 'inter4_stack_3008' / '0005_2.png').write_bytes(b'no picture')
    frames = build('FELT', tmp_path, num_steps=4).get_data_info(0)['frames']
    assert frames[5][:, 0, 0, 0].tolist() == [10, 10, 10, 40]


def test_lists_choose_the_sequences(tmp_path):
    for name in 'abc':
        tiny_tracking.write_sequence('FE108', tmp_path, 'test', name)
        tiny_tracking.write_sequence('COESOT', tmp_path, 'train', name)
        tiny_tracking.write_sequence('FE108', tmp_path / 'official', 'train', name)
    (tmp_path / 'test' / 'test.txt').write_text('c\na\n')
    (tmp_path / 'official' / 'train' / 'test.txt').write_text('c\na\n')  # so it is called
    for data in (build('FE108', tmp_path), build('FE108', tmp_path / 'official', 'train')):
        assert [data.get_data_info(i)['sequence'] for i in range(len(data))] == ['c', 'a']
    (tmp_path / 'train' / 'list.txt').write_text('a\nb\nc\n')
    (tmp_path / 'train' / 'train.txt').write_text('0\n2\n')
    (tmp_path / 'train' / 'val.txt').write_text('1\n')
    for split, names in (('train', ['a', 'c']), ('val', ['b'])):
        data = build('COESOT', tmp_path, split)
        assert [data.get_data_info(i)['sequence'] for i in range(len(data))] == names
    (tmp_path / 'mine.txt').write_text('b\n')
    for chosen in (['b'], str(tmp_path / 'mine.txt')):
        data = build('FE108', tmp_path, sequences=chosen)
        assert len(data) == 1 and data.get_data_info(0)['sequence'] == 'b'


def test_a_list_that_cannot_be_used_is_named(tmp_path):
    tiny_tracking.write_sequence('COESOT', tmp_path, 'train', 'a')
    assert len(build('COESOT', tmp_path, 'train')) == 1
    with pytest.raises(FileNotFoundError, match="val.txt: .*split='val' of COESOT needs it"):
        build('COESOT', tmp_path, 'val')
    (tmp_path / 'train' / 'val.txt').write_text('0\n')
    with pytest.raises(FileNotFoundError, match="train.txt: .*split='train' of COESOT needs it"):
        build('COESOT', tmp_path, 'train')
    with pytest.raises(FileNotFoundError, match="list.txt: .*split='val' of COESOT needs it"):
        build('COESOT', tmp_path, 'val')
    (tmp_path / 'train' / 'list.txt').write_text('a\n')
    assert len(build('COESOT', tmp_path, 'val')) == 1
    (tmp_path / 'train' / 'train.txt').write_text('\n')
    for layout, options in (
        ('FE108', {}),
        ('FE108', dict(sequences=f'{tmp_path}/train/train.txt')),
    ):
        with pytest.raises(ValueError, match='train.txt: the file is empty'):
            build(layout, tmp_path, 'train', **options)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_rows_and_frames_must_agree(layout, tmp_path):
    folder = tiny_tracking.write_sequence(layout, tmp_path, 'test', 'seq', length=25)
    boxes, flags = folder / LAYOUTS[layout].boxes[0], folder / 'absent.txt'
    flags.unlink(missing_ok=True)
    boxes.write_text('9,9,9,9\n' * 24)
    if layout in STACKED:  # their lists, not their folders, tell the number of frames
        assert len(build(layout, tmp_path).get_data_info(0)['frames']) == 24
    else:
        with pytest.raises(ValueError, match='2[45].*the annotation has 24 rows'):
            build(layout, tmp_path)
    boxes.write_text('9,9,9,9\n' * 26)
    with pytest.raises(FileNotFoundError, match='row 25 .* of 26 is missing'):
        build(layout, tmp_path)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_meaning_of_flags_can_be_set(layout, tmp_path):
    folder = tiny_tracking.write_sequence(layout, tmp_path, 'test', 'seq')
    (folder / 'absent.txt').write_text('0\n' * 4 + '1\n' * 20)
    for absent, frames in (('absent', 20), ('present', 4)):
        data = build(layout, tmp_path, absent=absent)
        assert data.get_data_info(0)['absent'].sum() == frames
    if layout in ('COESOT', 'COESOT-spike'):
        assert build(layout, tmp_path).get_data_info(0)['absent'].sum() == 4
    else:
        with pytest.warns(UserWarning, match="in 20 of 24 frames.*set absent='present' if 1"):
            data = build(layout, tmp_path)
        assert data.get_data_info(0)['absent'].sum() == 20
    with pytest.raises(ValueError, match="absent must be None, 'absent' or 'present'"):
        build(layout, tmp_path, absent='hidden')


def test_toolkit_annotations_win(tmp_path):
    tiny_tracking.write_sequence('VisEvent', tmp_path, 'test', 'seq')
    kit = tmp_path / 'annos'
    for folder in ('absent', 'att', 'gt_rect'):
        (kit / folder).mkdir(parents=True)
    (kit / 'absent' / 'seq.txt').write_text('0\n' * 23 + '1\n')
    (kit / 'att' / 'seq.txt').write_text('0\n1\n' + '0\n' * 15)
    (kit / 'gt_rect' / 'seq.txt').write_text('5,5,5,5\n' * 24)
    info = build('VisEvent', tmp_path, toolkit=str(kit)).get_data_info(0)
    assert np.flatnonzero(info['absent']).tolist() == [23]
    assert info['attributes'] == (VISEVENT_ATTRIBUTES[1],) == ('ROT',)
    assert info['gt_boxes'][9].tolist() == [5, 5, 5, 5]
    (kit / 'absent' / 'seq.txt').write_text('1\n' * 23 + '0\n')
    with pytest.warns(UserWarning, match='absent.seq.txt: .*absent in 23 of 24 frames'):
        build('VisEvent', tmp_path, toolkit=str(kit))
    with pytest.raises(FileNotFoundError, match='toolkit=.*missing.*the folder does not exist'):
        build('VisEvent', tmp_path, toolkit=str(tmp_path / 'missing'))


def test_annotation_of_tests_may_mix_separators(tmp_path):
    tiny_tracking.write_sequence('FELT', tmp_path, 'test', 'seq', separator='\t')
    np.testing.assert_array_equal(
        build('FELT', tmp_path).get_data_info(0)['gt_boxes'], tiny_tracking.boxes(24)
    )


@pytest.mark.parametrize(
    'spoil, error, message',
    [
        (
            lambda f: (f / 'inter1_stack_3008' / '0000_1.png').unlink(),
            FileNotFoundError,
            r'0000_1.png.*row 0.*23 files, 0001_1.png \.\. 0023_1.png',
        ),
        (
            lambda f: (f / 'inter1_stack_3008' / '0023_1.png').unlink(),
            FileNotFoundError,
            '0023_1.png.*row 23',
        ),
        (
            lambda f: (f / 'inter1_stack_3008' / '0000_1.png').write_bytes(b'x'),
            ValueError,
            'as a picture',
        ),
        (
            lambda f: (f / 'groundtruth.txt').unlink(),
            FileNotFoundError,
            'no sequence has groundtruth.txt',
        ),
        (
            lambda f: (f / 'groundtruth.txt').write_text('1,2,3\n'),
            ValueError,
            'groundtruth.txt, line 1',
        ),
        (
            lambda f: (f / 'absent.txt').write_text('0\n1\n'),
            ValueError,
            'absent.txt: 2 rows.*has 24',
        ),
        (
            lambda f: (f / 'groundtruth.txt').write_text('1,2,0,3\n' * 24),
            ValueError,
            'seq: the first box.*no area',
        ),
        (
            lambda f: (f / 'groundtruth.txt').write_text('900,2,4,3\n' * 24),
            ValueError,
            'seq: the first box.*outside of the picture',
        ),
        (
            lambda f: (f / 'groundtruth.txt').write_text('1,2,4,3\n' * 23 + '1,2,inf,3\n'),
            ValueError,
            'groundtruth.txt, row 23 .*sequence seq.*inf.*cannot be used',
        ),
        (
            lambda f: [(f / 'inter1_stack_3008' / f'00{i}_1.png').unlink() for i in (11, 15)],
            FileNotFoundError,
            r'0011_1.png.*row 11 .* is missing; 1 other frames too',
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, spoil, error, message):
    spoil(tiny_tracking.write_sequence('VisEvent', tmp_path, 'test', 'seq'))
    with pytest.raises(error, match=message):
        build('VisEvent', tmp_path)


def test_another_layout_is_recognised(tmp_path):
    tiny_tracking.write_sequence('VisEvent', tmp_path, 'test', 'seq')
    with pytest.raises(
        FileNotFoundError, match='no sequence has groundtruth_rect.txt.*match the layout VisEvent'
    ):
        build('FE108', tmp_path)
    with pytest.raises(FileNotFoundError, match='training_subset|testing_subset'):
        build('COESOT-spike', tmp_path)
    with pytest.raises(KeyError, match='GOT10k.*FE108'):
        build('GOT10k', tmp_path)
    with pytest.raises(ValueError, match='val.*FE108 has train, test'):
        build('FE108', tmp_path, 'val')


def test_another_frame_size_is_refused(tmp_path):
    tiny_tracking.write_sequence('FELT', tmp_path, 'test', 'seq')
    assert len(build('FELT', tmp_path, img_shape=tiny_tracking.SIZE)) == 1
    with pytest.raises(ValueError, match='40 x 60.*260, 346'):
        build('FELT', tmp_path, img_shape=(260, 346))
    file = tmp_path / 'test' / 'seq' / 'inter1_stack_3008' / '0007_1.png'
    cv2.imwrite(str(file), tiny_tracking.frame(7, size=(40, 61)))
    frames = build('FELT', tmp_path).get_data_info(0)['frames']
    assert frames[6].shape == (1, 40, 60, 3)
    with pytest.raises(ValueError, match='0007_1.png: the frame is 40 x 61 .*expected .40, 60'):
        frames[7]


def test_a_target_of_coesot_may_appear_later(tmp_path):
    for layout in ('COESOT', 'FELT'):
        folder = tiny_tracking.write_sequence(layout, tmp_path / layout, 'test', 'seq')
        file = folder / 'groundtruth.txt'
        rows = file.read_text().splitlines()
        file.write_text('\n'.join(['0,0,0,0'] * 3 + rows[3:]))
    with pytest.raises(ValueError, match='seq: the first box .* has no area'):
        build('FELT', tmp_path / 'FELT').full_init()
    info = build('COESOT', tmp_path / 'COESOT').get_data_info(0)
    assert info['late_start'] and info['gt_boxes'][2:4, 2].tolist() == [0, 12]


@pytest.mark.shared
def test_real_recordings_are_read(shared_path):
    root = shared_path('data/event_tracking')
    data = build('frames', root)
    names = [data.get_data_info(i)['sequence'] for i in range(len(data))]
    assert names == sorted(p.name for p in root.iterdir() if p.is_dir())
    pendulum = data.get_data_info(names.index('dvs128_pendulum1'))
    assert len(pendulum['frames']) == 398 and pendulum['absent'].sum() == 398 - 371
    assert pendulum['frames'][397].shape == (1, 128, 128, 3)


def test_dataset_is_registered(tmp_path):
    tiny_tracking.write_sequence('frames', tmp_path, 'test', 'seq')
    data = DATASETS.build(
        dict(
            type='mmbsa.TrackingDataset',
            layout='frames',
            data_root=str(tmp_path),
            split='test',
            test_mode=True,
            pipeline=[dict(type='mmbsa.PackTrackInputs')],
        )
    )
    item = data[0]
    assert item['data_samples'].gt_boxes.shape == (24, 4) and len(item['inputs']['frames']) == 24
