"""Checkpoints are read with an explicit list of what they may hold, and found again when some are
damaged."""

import os
import pickle
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

import mmbsa.registry  # noqa: F401  makes mmengine's loading strict
from mmbsa.utils.checkpoint import (
    CONTAINERS,
    checkpoints_newest_first,
    fit_state,
    is_finite,
    is_whole,
    load_checkpoint_file,
    whole_checkpoints,
)

pytestmark = pytest.mark.seg


class Evil:
    """Unpickled without restraint, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_log_buffers_arrays_and_scalars_come_back(tmp_path):
    buffer = HistoryBuffer()
    for value in (1.5, 2, 7.25):
        buffer.update(value)
    saved = dict(
        buffer=buffer,
        best=np.float64(0.5),
        palette=np.arange(6, dtype=np.uint8).reshape(2, 3),
        mask=np.array([True, False]),
        ids=np.arange(3),
        small=np.float32(2),
        step=np.int64(3),
    )
    torch.save(saved, tmp_path / 'a.pth')
    loaded = load_checkpoint_file(tmp_path / 'a.pth')
    assert all(np.array_equal(one, other) for one, other in zip(loaded['buffer'].data, buffer.data))
    assert loaded['buffer'].statistics('mean') == buffer.mean()
    for key in ('best', 'palette', 'mask', 'ids', 'small', 'step'):
        assert np.array_equal(loaded[key], saved[key]) and loaded[key].dtype == saved[key].dtype


@pytest.mark.parametrize('load', [load_checkpoint_file, CheckpointLoader.load_checkpoint])
def test_nothing_else_is_unpickled(tmp_path, load):
    torch.save(dict(state_dict={}, evil=Evil(tmp_path / 'pwned')), tmp_path / 'evil.pth')
    with pytest.raises(pickle.UnpicklingError, match=r'evil\.pth.*was not loaded'):
        load(str(tmp_path / 'evil.pth'))
    assert not (tmp_path / 'pwned').exists()


def test_neither_is_it_from_a_url(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    torch.save(dict(state_dict={}, evil=Evil(tmp_path / 'pwned')), tmp_path / 'evil.pth')
    torch.save(dict(state_dict=dict(a=torch.ones(2))), tmp_path / 'good.pth')
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}'
        assert CheckpointLoader.load_checkpoint(f'{url}/good.pth')['state_dict']['a'].tolist() == [
            1,
            1,
        ]
        with pytest.raises(pickle.UnpicklingError):
            CheckpointLoader.load_checkpoint(f'{url}/evil.pth')
        server.shutdown()
    assert not (tmp_path / 'pwned').exists()


class Getter:
    def __init__(self, owner, name):
        self.what = owner, name

    def __reduce__(self):
        return getattr, self.what


@pytest.mark.parametrize(
    'owner, name',
    [(HistoryBuffer, '__init__'), (torch.Tensor, 'share_memory_'), (np.ndarray, 'dump')],
)
def test_getattr_reaches_the_log_buffers_methods_only(tmp_path, owner, name):
    torch.save(Getter(owner, name), tmp_path / 'a.pth')
    with pytest.raises(pickle.UnpicklingError, match=r'a\.pth'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_errors_name_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.pth'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'none.pth'))
    torch.save(dict(state_dict=dict(a=torch.ones(1000))), tmp_path / 'a.pth')
    (tmp_path / 'cut.pth').write_bytes((tmp_path / 'a.pth').read_bytes()[:2000])
    with pytest.raises(RuntimeError, match=r'cut\.pth is truncated or damaged'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'cut.pth'))


def test_every_damaged_byte_is_noticed(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=dict(a=torch.arange(500.0))), path)
    whole = path.read_bytes()
    assert is_whole(path) and not is_whole(tmp_path / 'none.pth')
    for place in range(300, 2300, 50):  # the middle of the tensor
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        if load_tensor(path) != load_tensor_bytes(whole, tmp_path):
            assert not is_whole(path), place
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert not is_whole(path)


def load_tensor(path):
    try:
        return load_checkpoint_file(path)['state_dict']['a'].tolist()
    except (RuntimeError, pickle.UnpicklingError, KeyError):
        return None


def load_tensor_bytes(data, folder):
    (folder / 'whole.pth').write_bytes(data)
    return load_tensor(folder / 'whole.pth')


def touch(folder, times: dict) -> None:
    for name, when in times.items():
        torch.save({}, folder / name)
        os.utime(folder / name, (when, when))


def names(paths):
    return [path.name for path in paths]


def test_newest_first_by_step_and_pointer(tmp_path):
    touch(
        tmp_path,
        {
            'iter_9.pth': 1,
            'iter_10.pth': 2,
            'iter_100.pth': 3,
            'best_mIoU_iter_100.pth': 3,
            'epoch_1.pth': 3,
        },
    )
    assert names(checkpoints_newest_first(tmp_path)) == [
        'iter_100.pth',
        'iter_10.pth',
        'iter_9.pth',
    ]
    assert names(checkpoints_newest_first(tmp_path, 'epoch_{}.pth')) == ['epoch_1.pth']
    # killed between the checkpoint and the pointer: the checkpoint was written later and counts
    (tmp_path / 'last_checkpoint').write_text('somewhere/else/iter_10.pth')
    assert names(checkpoints_newest_first(tmp_path)) == [
        'iter_100.pth',
        'iter_10.pth',
        'iter_9.pth',
    ]
    # left by an older, longer run: it does not
    os.utime(tmp_path / 'iter_100.pth', (1, 1))
    assert names(checkpoints_newest_first(tmp_path)) == ['iter_10.pth', 'iter_9.pth']
    # a pointer to a file that is gone, or an empty one, is no reason to start over
    for content in ('iter_55.pth', ''):
        (tmp_path / 'last_checkpoint').write_text(content)
        assert names(checkpoints_newest_first(tmp_path)) == [
            'iter_100.pth',
            'iter_10.pth',
            'iter_9.pth',
        ]
    assert checkpoints_newest_first(tmp_path / 'none') == []


def test_damaged_checkpoints_are_passed_over(tmp_path):
    touch(tmp_path, {'iter_1.pth': 1, 'iter_2.pth': 2, 'iter_3.pth': 3})
    (tmp_path / 'iter_3.pth').write_bytes(b'PK')
    assert names(whole_checkpoints(checkpoints_newest_first(tmp_path))) == [
        'iter_2.pth',
        'iter_1.pth',
    ]


def test_is_finite(tmp_path):
    for value in (1.0, float('nan'), float('inf')):
        torch.save(
            dict(state_dict=dict(a=torch.tensor([0.0, value]), b=torch.tensor(3))),
            tmp_path / 'a.pth',
        )
        assert is_finite(tmp_path / 'a.pth') == (value == 1.0)


class Custom:
    """A class that a checkpoint may not name."""


@pytest.mark.parametrize(
    'what, name',
    [
        (lambda folder: Custom(), r'test_checkpoint\.Custom'),
        (lambda folder: Evil(folder / 'pwned'), r'posix\.mkdir'),
        (lambda folder: Custom, r'test_checkpoint\.Custom'),
        (lambda folder: eval, 'eval'),
    ],
)
@pytest.mark.parametrize('zipped', [True, False])
def test_refused_checkpoints_name_the_class_in_a_whole_sentence(tmp_path, what, name, zipped):
    path = tmp_path / 'a.pth'
    torch.save(
        dict(state_dict={}, extra=what(tmp_path)), path, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(
        pickle.UnpicklingError,
        match=rf'{path} was not loaded: it contains \S*{name}, but only '
        r'tensors, .* its code was not run\. .*torch\.save\(.*\)$',
    ):
        load_checkpoint_file(path)
    assert not (tmp_path / 'pwned').exists()


def test_files_of_others_are_refused_in_a_whole_sentence(tmp_path):
    (tmp_path / 'a.pth').write_bytes(pickle.dumps(dict(a=Custom())))
    (tmp_path / 'b.pth').write_bytes(b'not a checkpoint')
    for name in 'ab':
        with pytest.raises(
            (pickle.UnpicklingError, RuntimeError),
            match=rf'{name}\.pth was not loaded: it is damaged or not a file of torch.save \(.+\)$',
        ):
            load_checkpoint_file(tmp_path / f'{name}.pth')


WEIGHTS = {'stem.conv.weight': torch.ones(2), 'stages.0.module.weight': torch.zeros(3)}


@pytest.mark.parametrize(
    'prefix',
    [
        '',
        'module.',
        'backbone.',
        'module.backbone.',
        'model.',
        '_orig_mod.',
        'module._orig_mod.',
        'encoder.',
        'model.backbone.',
        'backbone._orig_mod.',
        'net.encoder.',
        '_fsdp_wrapped_module.',
        'student.backbone.',
        'visual.',
    ],
)
@pytest.mark.parametrize('container', [None, *CONTAINERS, 'some.other'])
def test_weights_are_found_under_every_prefix_and_container(prefix, container):
    checkpoint = {prefix + key: value for key, value in WEIGHTS.items()}
    checkpoint.update({'head.weight': torch.ones(1), 'head.bias': torch.ones(1)})
    for name in (container or '').split('.') if container else ():
        checkpoint = {
            'epoch': 3,
            'optimizer': dict(state={0: dict(step=torch.ones(1))}),
            name: checkpoint,
        }
    found = fit_state(checkpoint, WEIGHTS)
    assert all(found[key] is value for key, value in WEIGHTS.items())
    assert set(found) - set(WEIGHTS) <= {'head.weight', 'head.bias'}


def test_names_of_wrappers_within_names_are_left_out():
    checkpoint = {
        'stem._orig_mod.conv.weight': WEIGHTS['stem.conv.weight'],
        '_orig_mod.stages.0.weight': torch.zeros(3),
    }
    wanted = {'stem.conv.weight': None, 'stages.0.weight': None}
    assert set(fit_state(checkpoint, wanted)) == set(wanted)


def test_the_preferred_container_wins_and_the_better_one_more_so():
    first, second = torch.ones(1), torch.zeros(1)
    assert fit_state(dict(ema=dict(a=second), state_dict=dict(a=first)), ['a'])['a'] is first
    assert fit_state(dict(state_dict=dict(b=first), net=dict(a=second)), ['a'])['a'] is second


def test_a_given_prefix_is_kept_to():
    checkpoint = {
        'teacher.a': torch.ones(1),
        'module.student.a': torch.zeros(1),
        'student.b': torch.ones(1),
    }
    assert fit_state(checkpoint, ['a'], 'student')['a'] == 0
    assert fit_state(checkpoint, ['a'], 'teacher.')['a'] == 1
    with pytest.raises(
        KeyError,
        match="under the prefix 'none.' is there; found 3 names teacher.a, module.student.a",
    ):
        fit_state(checkpoint, ['a'], 'none')


@pytest.mark.parametrize(
    'checkpoint, found',
    [
        (dict(state_dict=dict(x=torch.ones(1))), "in 'state_dict': 1 names x"),
        ({}, 'no named tensors'),
        ([1], 'no named'),
        (dict(x=1), 'no named tensors'),
    ],
)
def test_what_does_not_fit_is_named(checkpoint, found):
    with pytest.raises(KeyError, match=found):
        fit_state(checkpoint, ['a', 'b'])
