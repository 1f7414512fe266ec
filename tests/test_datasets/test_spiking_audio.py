"""SHD, SSC and N-TIDIGITS: recordings inside one file."""

import numpy as np
import pytest
import torch

h5py = pytest.importorskip('h5py')

from mmbsa.datasets import SpikingAudioDataset  # noqa: E402
from mmbsa.datasets.transforms import ChannelsToMap, LoadEventFrames  # noqa: E402


def write(path, labels, keys=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    units = [rng.integers(0, 700, 50 + i) for i in range(len(labels))]
    times = [np.sort(rng.random(50 + i)).astype(np.float16) for i in range(len(labels))]
    with h5py.File(path, 'w') as file:
        file['labels'] = np.array(labels, np.uint16)
        for name, rows, kind in (('units', units, np.uint16), ('times', times, np.float16)):
            data = file.create_dataset(f'spikes/{name}', (len(rows),), h5py.vlen_dtype(kind))
            for i, row in enumerate(rows):
                data[i] = row
        if keys:
            file['extra/keys'] = [f'word {i}'.encode() for i in range(20)]
    return units, times


def test_audio_recordings_are_read(tmp_path):
    units, times = write(tmp_path / 'events_h5' / 'shd_test.h5', [3, 0, 19])
    data = SpikingAudioDataset(str(tmp_path), 'test')
    assert data.get_gt_labels().tolist() == [3, 0, 19] and data.metainfo['classes'][19] == 'word 19'
    frames = [
        LoadEventFrames(4, 'time', cache_dir=cache)(data.get_data_info(i))['img']
        for cache in (None, tmp_path / 'cache', tmp_path / 'cache')
        for i in range(3)
    ]
    for i in range(3):
        assert (
            frames[i].shape == (4, 2, 1, 700)
            and frames[i].sum() == 50 + i
            and not frames[i][:, 0].any()
        )
        assert np.array_equal(frames[i][:, 1, 0].sum(0), np.bincount(units[i], minlength=700))
        assert np.array_equal(frames[i + 3], frames[i]) and np.array_equal(frames[i + 6], frames[i])
        early = (
            times[i].astype(float) - times[i].min() < (times[i].max() - times[i].min()) / 4 - 1e-3
        ).sum()
        assert abs(frames[i][0].sum() - early) <= 1
    assert LoadEventFrames(4, size=(1, 140))(data.get_data_info(0))['img'].shape == (4, 2, 1, 140)


def test_audio_refuses_bad_files(tmp_path):
    with pytest.raises(
        ValueError, match=r"split must be one of \('train', 'test'\) for SHD, got 'val'"
    ):
        SpikingAudioDataset(str(tmp_path), 'val')
    with pytest.raises(ValueError, match="reader must be one of .*'TIDIGITS'"):
        SpikingAudioDataset(str(tmp_path), reader='TIDIGITS')
    with pytest.raises(
        FileNotFoundError, match=rf'ssc_valid.h5 is neither in data_root={tmp_path}'
    ):
        SpikingAudioDataset(str(tmp_path), 'val', 'SSC')
    (tmp_path / 'shd_train.h5').write_bytes(b'no h5')
    with pytest.raises(ValueError, match='shd_train.h5: not a readable file of SHD'):
        SpikingAudioDataset(str(tmp_path))
    write(tmp_path / 'shd_train.h5', [3, 20])
    with pytest.raises(ValueError, match=r'shd_train.h5: .* all in 0..19; found .* in 3..20'):
        SpikingAudioDataset(str(tmp_path))


def write_digits(path, train=('man-a-5', 'man-a-z', 'boy-b-15o'), test=('woman-c-o',)):
    rng = np.random.default_rng(0)
    spikes = {}
    with h5py.File(path, 'w') as file:
        for split, names in dict(train=train, test=test).items():
            file[f'{split}_labels'] = np.array([name.encode() for name in names], 'S20')
            for number, name in enumerate(names):
                spikes[name] = rng.integers(0, 64, 30 + number), rng.random(30 + number)
                file[f'{split}_addresses/{name}'] = spikes[name][0]
                file[f'{split}_timestamps/{name}'] = spikes[name][1]
    return spikes


def test_digits_of_one_word_are_read(tmp_path):
    spikes = write_digits(tmp_path / 'n-tidigits.hdf5')
    data = SpikingAudioDataset(str(tmp_path), 'train', 'NTIDIGITS')
    assert data.get_gt_labels().tolist() == [5, 0] and data.metainfo['classes'][10] == 'oh'
    assert SpikingAudioDataset(str(tmp_path), 'test', 'NTIDIGITS').get_gt_labels().tolist() == [10]
    sample = LoadEventFrames(4, 'time')(data.get_data_info(1))
    assert sample['img'].shape == (4, 2, 1, 64)
    counts = np.bincount(spikes['man-a-z'][0], minlength=64)
    assert np.array_equal(sample['img'].sum((0, 1, 2)), counts)


def test_digits_refuse_bad_files(tmp_path):
    path = tmp_path / 'n-tidigits.hdf5'
    write_digits(path, train=('boy-b-15o',))
    with pytest.raises(ValueError, match=r'n-tidigits.hdf5: .* found 0 of 1'):
        SpikingAudioDataset(str(tmp_path), 'train', 'NTIDIGITS')
    write_digits(path)
    with h5py.File(path, 'a') as file:
        del file['train_addresses/man-a-5']
    with pytest.raises(ValueError, match=r"\['man-a-5'\] without spikes"):
        SpikingAudioDataset(str(tmp_path), 'train', 'NTIDIGITS')
    data = SpikingAudioDataset(str(tmp_path), 'test', 'NTIDIGITS')
    info = dict(data.get_data_info(0), part='test/nobody')
    with pytest.raises(ValueError, match="choose one by part='train/<name>'.*test/nobody"):
        LoadEventFrames(4, 'time')(info)
    path.write_bytes(b'no h5')
    with pytest.raises(ValueError, match='not a readable file of NTIDIGITS'):
        SpikingAudioDataset(str(tmp_path), 'train', 'NTIDIGITS')


def test_channels_are_folded_as_nearest_interpolation_does():
    frames = torch.rand(3, 2, 1, 700)
    frames[:, 0] = 0
    halves = frames.sum(1).reshape(3, 2, 350)
    expected = torch.nn.functional.interpolate(halves, size=256, mode='nearest')
    folded = ChannelsToMap(16)(dict(img=frames.numpy()))
    assert folded['img_shape'] == (16, 16)
    assert np.array_equal(folded['img'], expected.reshape(3, 2, 16, 16).numpy())
    with pytest.raises(ValueError, match=r'even number C .* got the shape \(3, 2, 1, 7\)'):
        ChannelsToMap(16)(dict(img=np.zeros((3, 2, 1, 7))))
