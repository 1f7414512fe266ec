"""Event recordings: formats, folders, splits, labels, preparation, errors that name the file."""

import dataclasses
import hashlib
import math
import shutil
import zipfile

import event_writers
import numpy as np
import pytest
import tiny_data

from mmbsa.datasets import EventDataset
from mmbsa.datasets.event_files import read_events
from mmbsa.datasets.event_sources import CIFAR10, SOURCES, prepare
from mmbsa.datasets.readers import spikingjelly_readers
from mmbsa.datasets.transforms import LoadEventFrames, LoadEvents

spikingjelly = spikingjelly_readers()


def columns_of(events):
    return {name: events[name].tolist() for name in 'xytp'}


def test_formats_give_the_same_events(tmp_path):
    columns = tiny_data.random_events(50, (128, 128))
    expected = {name: column.tolist() for name, column in columns.items()}
    np.savez(tmp_path / 'a.npz', **columns)
    tiny_data.write_atis_bin(tmp_path / 'a.bin', columns)
    tiny_data.write_cifar10_dvs(tmp_path / 'a.aedat', columns)
    rows = np.empty(50, [('t', '<u4'), ('x', '<i2'), ('y', '<i2'), ('p', 'i1')])
    for name in 'xytp':
        rows[name] = columns[name]
    np.save(tmp_path / 'a.npy', rows)
    for ending in ('npz', 'bin', 'aedat', 'npy'):
        events = read_events(tmp_path / f'a.{ending}', layout='cifar10-dvs')
        assert columns_of(events) == expected, ending


def test_broken_recordings_are_named(tmp_path):
    contents = {'a.bin': b'123456', 'a.npz': b'PK no zip', 'a.aedat': b'#!AER\r\n12345678abc'}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f'{tmp_path / name}: not a readable recording'):
            read_events(tmp_path / name)
    np.savez(tmp_path / 'b.npz', x=[1], y=[1], t=[1])
    with pytest.raises(ValueError, match=r"b.npz: .*missing \['p'\]"):
        read_events(tmp_path / 'b.npz')
    with pytest.raises(FileNotFoundError, match='none.npz: no such recording'):
        read_events(tmp_path / 'none.npz')


def test_cifar10_dvs_first_ninety_percent_of_each_class(tmp_path):
    """The split is SpikingJelly's ``split_to_train_test_set``, file by file."""
    tiny_data.write_event_folders(tmp_path / 'events_np', CIFAR10, [''], (128, 128), per_class=12)
    train, test = (EventDataset(str(tmp_path), split, 'CIFAR10DVS') for split in ('train', 'test'))
    theirs = spikingjelly.CIFAR10DVS(str(tmp_path), data_type='event')
    samples = [(path, label) for path, label in theirs.samples]
    picked = spikingjelly.split_to_train_test_set(0.9, samples, 10)
    for ours, subset in zip((train, test), picked):
        expected = [theirs.samples[index] for index in subset.indices]
        assert [
            (i['img_path'], i['gt_label']) for i in map(ours.get_data_info, range(len(ours)))
        ] == expected
    assert len(train) == 10 * math.ceil(12 * 0.9) and train.metainfo['classes'] == CIFAR10
    half = EventDataset(str(tmp_path), 'train', 'CIFAR10DVS', train_share=0.5)
    assert len(half) == 60


def test_gesture_labels_are_those_of_spikingjelly(tmp_path):
    names = [str(label) for label in range(11)]
    tiny_data.write_event_folders(tmp_path / 'events_np', names, ['train', 'test'], (128, 128))
    ours = EventDataset(str(tmp_path), 'test', 'DVS128Gesture')
    theirs = spikingjelly.DVS128Gesture(str(tmp_path), train=False, data_type='event')
    assert [
        (i['img_path'], i['gt_label']) for i in map(ours.get_data_info, range(len(ours)))
    ] == theirs.samples
    classes = ours.metainfo['classes']
    assert classes[theirs.class_to_idx['10']] == 'other'
    assert classes[theirs.class_to_idx['2']] == 'left hand wave'
    assert ours.get_data_info(0)['sensor_size'] == (128, 128) and ours.get_cat_ids(-1) == [10]


def test_folders_as_distributed(tmp_path):
    for split in ('Train', 'Test'):
        for digit in range(10):
            tiny_data.write_atis_bin(
                tmp_path / 'a' / split / str(digit) / '1.bin', tiny_data.random_events(9, (34, 34))
            )
    assert len(EventDataset(str(tmp_path / 'a'), 'test', 'NMNIST')) == 10
    for split in ('n-cars_train', 'n-cars_test'):
        for name in ('cars', 'background'):
            (tmp_path / 'b' / split / name).mkdir(parents=True)
            (tmp_path / 'b' / split / name / 'obj_1_td.dat').write_bytes(b'\x00\x08')
    cars = EventDataset(str(tmp_path / 'b'), 'train', 'NCARS')
    assert cars.metainfo['classes'] == ('background', 'cars')
    assert cars.get_data_info(1)['sensor_size'] == (100, 120)
    for index in range(101):
        for number in range(10):
            tiny_data.write_atis_bin(
                tmp_path / 'c' / 'extract' / 'Caltech101' / f'c{index:03d}' / f'image_{number}.bin',
                {name: [0] for name in 'xytp'},
            )
    sizes = [
        len(EventDataset(str(tmp_path / 'c'), split, 'NCaltech101')) for split in ('train', 'test')
    ]
    assert sizes == [909, 101]


def test_any_tree(tmp_path):
    tiny_data.write_event_folders(tmp_path, ['one', 'two'], ['left', 'val'], (20, 30))
    data = EventDataset(str(tmp_path), 'val', sensor_size=(20, 30))
    assert data.metainfo['classes'] == ('one', 'two') and len(data) == 4
    with pytest.raises(ValueError, match='needs sensor_size'):
        EventDataset(str(tmp_path), 'val')
    with pytest.raises(ValueError, match="split must be one of .*'left'"):
        EventDataset(str(tmp_path), 'left', sensor_size=(20, 30))


def test_every_source_agrees_with_spikingjelly():
    for name, source in SOURCES.items():
        assert hasattr(spikingjelly, name) == source.archives, name
        if source.archives:
            assert tuple(getattr(spikingjelly, name).get_H_W()) == source.size, name
        assert not source.classes or len(source.classes) == source.num_classes
        assert bool(source.splits) != (source.train_share is not None), name


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(reader='DVS'), "reader must be 'folders' or one of .*CIFAR10DVS.*'DVS'"),
        (
            dict(reader='CIFAR10DVS', split='val'),
            r"split must be one of \('train', 'test'\) for CIFAR10DVS, got 'val'",
        ),
        (dict(reader='NMNIST', sensor_size=(34, 34)), 'sensor_size of NMNIST'),
        (dict(reader='NMNIST', train_share=0.9), 'train_share .* for NMNIST'),
        (dict(reader='CIFAR10DVS', train_share=1.5), 'train_share must be in'),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        EventDataset(str(tmp_path), **arguments)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=rf'NMNIST.*no recordings in data_root={tmp_path}; expected class folders',
    ):
        EventDataset(str(tmp_path), 'train', 'NMNIST')
    tiny_data.write_event_folders(
        tmp_path / 'events_np', [str(i) for i in range(9)], ['train'], (34, 34)
    )
    with pytest.raises(ValueError, match=r"10 class folders; missing \['9'\]"):
        EventDataset(str(tmp_path), 'train', 'NMNIST')
    (tmp_path / 'events_np' / 'train' / '9').mkdir()
    with pytest.raises(FileNotFoundError, match='train/9 holds no recordings'):
        EventDataset(str(tmp_path), 'train', 'NMNIST')


def spoil(folder):
    """Put beside every file what macOS leaves on foreign disks."""
    for path in [path for path in folder.rglob('*') if path.is_file()]:
        (path.parent / f'._{path.name}').write_bytes(b'\0\5\x16\7 Mac OS X')
        (path.parent / '.DS_Store').write_bytes(b'Bud1')
    (folder / '__MACOSX').mkdir()
    (folder / '__MACOSX' / path.name).write_bytes(b'x')


def test_hidden_files_do_not_count(tmp_path):
    """They would move the split of CIFAR10-DVS and be read as recordings."""
    tiny_data.write_event_folders(tmp_path / 'events_np', CIFAR10, [''], (128, 128), per_class=11)
    before = [EventDataset(str(tmp_path), split, 'CIFAR10DVS') for split in ('train', 'test')]
    spoil(tmp_path / 'events_np')
    after = [EventDataset(str(tmp_path), split, 'CIFAR10DVS') for split in ('train', 'test')]
    for one, two in zip(before, after):
        assert [one.get_data_info(i) for i in range(len(one))] == [
            two.get_data_info(i) for i in range(len(two))
        ]
    assert len(after[0]) == 100 and len(after[1]) == 10
    (tmp_path / 'b' / 'val' / 'one').mkdir(parents=True)
    (tmp_path / 'b' / 'val' / 'one' / '._a.npz').write_bytes(b'x')
    with pytest.raises(FileNotFoundError, match='no recordings'):
        EventDataset(str(tmp_path / 'b'), 'val', sensor_size=(20, 30))


def test_endings_in_any_case(tmp_path):
    for name in ('a.NPZ', 'b.npz', 'c.Npz'):
        tiny_data.write_npz(tmp_path / 'val' / 'one' / 'x.npz', (20, 30))
        (tmp_path / 'val' / 'one' / 'x.npz').rename(tmp_path / 'val' / 'one' / name)
    data = EventDataset(str(tmp_path), 'val', sensor_size=(20, 30))
    assert len(data) == 3 and len(read_events(data.get_data_info(0)['img_path'])) == 60


def test_addresses_are_read_by_the_data_set_and_the_sensor(tmp_path):
    """The same file means other pixels for CIFAR10-DVS than for a DVS128 or a DAVIS."""
    columns = tiny_data.random_events(20, (128, 128))
    root = tmp_path / 'cifar'
    for name in CIFAR10:
        tiny_data.write_cifar10_dvs(root / name / 'a.aedat', columns)
    load = LoadEvents()
    events = load(EventDataset(str(root), 'train', 'CIFAR10DVS').get_data_info(0))['events']
    assert columns_of(events) == {name: column.tolist() for name, column in columns.items()}
    for size in ((128, 128), (180, 240)):
        folder = tmp_path / f'{size[0]}' / 'val' / 'one'
        folder.mkdir(parents=True)
        written = event_writers.some_events(size=size)
        event_writers.write_aedat2(folder / 'a.aedat', written, davis=size != (128, 128))
        data = EventDataset(str(folder.parents[1]), 'val', sensor_size=size)
        assert columns_of(load(data.get_data_info(0))['events']) == columns_of(written)
    for name in CIFAR10:
        event_writers.write_aedat2(root / name / 'a.aedat', written, 'DAVIS240C')
    with pytest.raises(ValueError, match='a.aedat: .*cifar10-dvs.*DAVIS240C'):
        load(EventDataset(str(root), 'train', 'CIFAR10DVS').get_data_info(0))


@pytest.mark.parametrize('reader, classes', [('UCF101DVS', 101), ('HMDB51DVS', 51), ('ASLDVS', 24)])
def test_matlab_data_sets_are_read_as_distributed(tmp_path, reader, classes):
    events = event_writers.some_events(9, (180, 240))
    for index in range(classes):
        for number in range(5):
            path = tmp_path / f'c{index:03d}' / f'v_{number}.mat'
            path.parent.mkdir(exist_ok=True)
            event_writers.write_mat(path, events)
    train, test = (EventDataset(str(tmp_path), split, reader) for split in ('train', 'test'))
    assert (len(train), len(test)) == (4 * classes, classes)
    assert columns_of(LoadEvents()(test.get_data_info(0))['events']) == columns_of(events)


def test_repairs_are_asked_for(tmp_path):
    np.savez(tmp_path / 'a.npz', x=[1, 2, 99], y=[1, 2, 3], t=[5, 4, 6], p=[0, 1, 1])
    sample = dict(img_path=str(tmp_path / 'a.npz'), sensor_size=(20, 30))
    with pytest.raises(ValueError, match='a.npz: .*(outside|order of time)'):
        LoadEvents()(dict(sample))
    assert LoadEvents(['unsorted', 'outside'])(dict(sample))['events']['t'].tolist() == [4, 5]
    frames = LoadEventFrames(2, repair='all', cache_dir=tmp_path / 'cache')(dict(sample))['img']
    assert frames.sum() == 2
    with pytest.raises(ValueError, match='a.npz'):  # other frames than the repaired ones
        LoadEventFrames(2, cache_dir=tmp_path / 'cache')(dict(sample))
    with pytest.raises(ValueError, match="LoadEvents: repair must be some of .*'sort'"):
        LoadEvents('sort')


def nmnist_archives(folder, md5s):
    folder.mkdir(parents=True)
    for split in ('Train', 'Test'):
        for digit in range(10):
            columns = tiny_data.random_events(20, (34, 34), digit)
            tiny_data.write_atis_bin(folder / 'raw' / split / str(digit) / '1.bin', columns)
        with zipfile.ZipFile(folder / f'{split}.zip', 'w') as archive:
            for file in sorted((folder / 'raw' / split).rglob('*.bin')):
                archive.write(file, file.relative_to(folder / 'raw'))
        md5s.append((f'{split}.zip', 'https://example.org', md5(folder / f'{split}.zip')))
    shutil.rmtree(folder / 'raw')


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize('convert', [False, True], ids=['unpack', 'convert'])
def test_archives_are_prepared_once_and_a_killed_preparation_leaves_nothing(
    tmp_path, monkeypatch, convert
):
    md5s = []
    nmnist_archives(tmp_path / 'download', md5s)
    reader = spikingjelly.NMNIST
    monkeypatch.setattr(reader, 'resource_url_md5', lambda: md5s)
    monkeypatch.setitem(SOURCES, 'NMNIST', dataclasses.replace(SOURCES['NMNIST'], convert=convert))
    step = 'create_raw_from_extracted' if convert else 'extract_downloaded_files'
    folder = tmp_path / ('events_np' if convert else 'extract')
    draft = tmp_path / f'.{folder.name}.123.tmp'
    (draft / 'junk').mkdir(parents=True)  # of a process that was killed
    whole = getattr(reader, step)

    def dies(source, target):
        (target / 'train' / '0').mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(reader, step, dies)
    with pytest.raises(KeyboardInterrupt):
        EventDataset(str(tmp_path), 'train', 'NMNIST')
    assert not folder.exists() and not draft.exists()
    monkeypatch.setattr(reader, step, whole)
    data = EventDataset(str(tmp_path), 'train', 'NMNIST')
    path = data.get_data_info(3)['img_path']
    assert len(data) == 10 and str(folder) in path and (tmp_path / 'events_np').exists() == convert
    expected = {
        name: column.tolist() for name, column in tiny_data.random_events(20, (34, 34), 3).items()
    }
    assert columns_of(read_events(path)) == expected
    monkeypatch.setattr(reader, step, dies)
    assert len(EventDataset(str(tmp_path), 'test', 'NMNIST')) == 10  # nothing is done twice
    before = sorted(tmp_path.rglob('*'))
    prepare('NMNIST', tmp_path, 'test')
    assert sorted(tmp_path.rglob('*')) == before


def test_other_processes_wait_for_the_preparation(tmp_path, monkeypatch):
    from mmbsa.datasets import event_dataset

    md5s = []
    nmnist_archives(tmp_path / 'download', md5s)
    monkeypatch.setattr(spikingjelly.NMNIST, 'resource_url_md5', lambda: md5s)
    monkeypatch.setattr(event_dataset, 'is_main_process', lambda: False)
    monkeypatch.setattr(
        event_dataset, 'barrier', lambda: event_dataset.prepare('NMNIST', tmp_path, 'train')
    )
    assert len(EventDataset(str(tmp_path), 'train', 'NMNIST')) == 10


def test_archives_that_are_missing_or_damaged(tmp_path, monkeypatch):
    md5s = []
    nmnist_archives(tmp_path / 'download', md5s)
    monkeypatch.setattr(spikingjelly.NMNIST, 'resource_url_md5', lambda: md5s)
    archive = tmp_path / 'download' / 'Train.zip'
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match='Train.zip: expected the MD5 sum'):
        EventDataset(str(tmp_path), 'train', 'NMNIST')
    archive.unlink()
    with pytest.raises(
        FileNotFoundError, match='Train.zip is missing; get it from https://example.org'
    ):
        EventDataset(str(tmp_path), 'train', 'NMNIST')
    assert not (tmp_path / 'extract').exists() and not (tmp_path / 'events_np').exists()


@pytest.mark.shared
def test_real_nmnist(shared_path):
    root = shared_path('data/nmnist_small')
    train, test = (EventDataset(str(root), split, 'NMNIST') for split in ('train', 'test'))
    assert (len(train), len(test)) == (400, 100)
    assert np.bincount(train.get_gt_labels()).tolist() == [40] * 10
    for index in range(0, 400, 57):
        events = read_events(train.get_data_info(index)['img_path'])
        assert 1000 < len(events) < 12000 and events['x'].max() < 34 and events['y'].max() < 34
        assert (np.diff(events['t']) >= 0).all() and 250_000 < events['t'][-1] < 350_000


@pytest.mark.shared
def test_real_files(shared_path):
    events = read_events(shared_path('data/event_file_samples/nmnist_sample.bin'))
    assert len(events) > 1000 and set(events['p']) == {0, 1}
    walking = read_events(shared_path('data/event_file_samples/dvs128_walking.aedat'))
    assert len(walking) > 1000 and walking['x'].max() < 128 and walking['y'].max() < 128
