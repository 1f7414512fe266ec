"""SHD and SSC: recordings inside one file."""

import numpy as np
import pytest

h5py = pytest.importorskip('h5py')

from mmbsa.datasets import SpikingAudioDataset  # noqa: E402
from mmbsa.datasets.transforms import LoadEventFrames  # noqa: E402


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
