"""A run that is killed, at any moment, and resumed is the run that was not."""

import os
import shutil
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_run
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from mmbsa.engine.run_state import validation_is_due
from mmbsa.utils import files
from mmbsa.utils.checkpoint import load_checkpoint_file

pytestmark = pytest.mark.seg
ITERS = 12
# paths, dates, measured times and the state of a git checkout
OF_ONE_RUN = ('cfg', 'time', 'last_ckpt', 'best_ckpt', 'experiment_name', 'mmengine_version')
RUN = dict(
    train_cfg__max_iters=ITERS, train_cfg__val_interval=4, default_hooks__checkpoint__interval=2
)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return tiny_run.write_config(tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='module')
def whole_run(config):
    """The work dir of a run that nobody disturbs."""
    work_dir = config.parent / 'whole'
    assert tiny_run.finish(tiny_run.start(tiny_run.train, config, work_dir, **RUN)) == [0]
    return work_dir


def assert_equal(a, b, where: str) -> None:
    """Compare two checkpoints' contents to the bit, but for ``OF_ONE_RUN``."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            if key in OF_ONE_RUN or str(key).endswith(('time', '/eta')):
                continue
            assert_equal(a[key], b[key], f'{where}.{key}')
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for index, (one, other) in enumerate(zip(a, b)):
            assert_equal(one, other, f'{where}[{index}]')
    elif isinstance(a, HistoryBuffer):
        assert all(np.array_equal(one, other) for one, other in zip(a.data, b.data)), where
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b), where
    else:
        assert a == b, where


def assert_same_run(work_dir: Path, whole_run: Path) -> list[int]:
    """Check every iteration and the last checkpoint against the undisturbed run; return the
    iterations as they came."""
    expected = {line['iter']: line for line in tiny_run.read_diary(whole_run)[0]}
    diary = tiny_run.read_diary(work_dir)[0]
    for line in diary:
        assert line == expected[line['iter']]
    iters = [line['iter'] for line in diary]
    assert iters[-1] == ITERS and set(iters) == set(range(1, ITERS + 1))
    last, expected_last = (
        load_checkpoint_file(folder / f'iter_{ITERS}.pth') for folder in (work_dir, whole_run)
    )
    assert {
        'state_dict',
        'ema_state_dict',
        'optimizer',
        'param_schedulers',
        'message_hub',
        'resume_state',
        'meta',
    } <= last.keys()
    assert_equal(last, expected_last, 'checkpoint')
    return iters


def lines(work_dir: Path) -> int:
    diary = work_dir / 'diary_0.jsonl'
    return len(diary.read_bytes().splitlines()) if diary.exists() else 0


def reached(work_dir: Path, count: int) -> bool:
    return lines(work_dir) >= count


@pytest.mark.parametrize('workers', [0, 2])
def test_killed_at_random_times(config, whole_run, tmp_path, workers):
    options = dict(
        RUN, train_dataloader__num_workers=workers, train_dataloader__persistent_workers=workers > 0
    )
    rng = np.random.default_rng(workers)
    for seen, resume in ((3, False), (6, True)):
        process = tiny_run.start(tiny_run.train, config, tmp_path, resume=resume, **options)
        enough = max(seen, lines(tmp_path) + 1)
        tiny_run.kill_when(process, partial(reached, tmp_path, enough), pause=rng.uniform(0, 0.05))
    assert tiny_run.finish(
        tiny_run.start(tiny_run.train, config, tmp_path, resume=True, **options)
    ) == [0]
    iters = assert_same_run(tmp_path, whole_run)
    # each resume goes on from a checkpoint, not from the start
    assert iters.count(1) == 1


class HalfWriter:
    """A file that gets stuck, for ever, in the middle of what is written to it."""

    def __init__(self, file, marker: Path):
        self.file, self.marker = file, marker

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()

    def write(self, data: bytes):
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        os.fsync(self.file.fileno())
        self.marker.touch()
        time.sleep(600)


def train_and_get_stuck(config: Path, work_dir: Path, name: str, skip: int, marker: Path) -> None:
    """Train, and hang while ``name`` is written for the (skip + 1)-th time."""
    open_draft, fdopen, seen = files._open_draft, os.fdopen, []

    def open_draft_(path, folder):
        draft, descriptor = open_draft(path, folder)
        if path.name == name:
            seen.append(descriptor)
        return draft, descriptor

    def fdopen_(descriptor, *args, **kwargs):
        file = fdopen(descriptor, *args, **kwargs)
        stuck = len(seen) > skip and descriptor == seen[-1]
        return HalfWriter(file, marker) if stuck else file

    files._open_draft, os.fdopen = open_draft_, fdopen_
    tiny_run.train(config, work_dir, **RUN)


@pytest.mark.parametrize(
    'name, skip, resumed_after',
    [
        ('iter_2.pth', 0, 0),  # the very first one: nothing to resume from
        ('iter_6.pth', 0, 4),
        (
            'last_checkpoint',
            3,
            6,
        ),  # iter_6.pth is whole already, the pointer (iter_4.pth twice: with its score) is not
        ('best_mIoU_iter_4.pth', 0, 4),
    ],
)
def test_killed_while_writing(config, whole_run, tmp_path, name, skip, resumed_after):
    marker, work_dir = tmp_path / 'writing', tmp_path / 'run'
    process = tiny_run.start(train_and_get_stuck, config, work_dir, name, skip, marker)
    tiny_run.kill_when(process, marker.exists)
    drafts = list(work_dir.glob(f'.{name}.*'))
    assert len(drafts) == 1 and drafts[0].stat().st_size > 0
    before = lines(work_dir)
    assert tiny_run.finish(
        tiny_run.start(tiny_run.train, config, work_dir, resume=True, **RUN)
    ) == [0]
    assert tiny_run.read_diary(work_dir)[0][before]['iter'] == resumed_after + 1
    assert_same_run(work_dir, whole_run)
    assert not list(work_dir.glob('.*')), 'drafts of killed writers are cleared away'
    kept = sorted(path.name for path in work_dir.glob('*.pth'))
    assert (
        len(kept) == 3
        and kept[1:] == ['iter_10.pth', 'iter_12.pth']
        and kept[0].startswith('best_mIoU')
    )


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == 'cut off':
        path.write_bytes(data[: len(data) // 2])
    elif how == 'one byte':  # in the middle of a weight: the archive still opens
        path.write_bytes(
            data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
        )
    else:
        path.write_bytes(b'')


@pytest.mark.parametrize('how', ['cut off', 'one byte', 'empty'])
def test_damaged_checkpoint_is_passed_over(config, whole_run, tmp_path, how):
    work_dir = tmp_path / 'run'
    shutil.copytree(whole_run, work_dir)
    (work_dir / 'last_checkpoint').write_text(str(work_dir / f'iter_{ITERS}.pth'))
    damage(work_dir / f'iter_{ITERS}.pth', how)
    assert tiny_run.finish(
        tiny_run.start(tiny_run.train, config, work_dir, resume=True, **RUN)
    ) == [0]
    iters = assert_same_run(work_dir, whole_run)
    assert iters[ITERS:] == [11, 12]
    log = next(
        iter(sorted(work_dir.glob('*/*.log'), key=os.path.getmtime, reverse=True))
    ).read_text()
    assert f'iter_{ITERS}.pth is truncated or damaged and is skipped' in log


def test_resume_says_when_no_checkpoint_is_whole(config, whole_run, tmp_path):
    shutil.copytree(whole_run, tmp_path / 'run')
    for path in (tmp_path / 'run').glob('iter_*.pth'):
        damage(path, 'cut off')
    with pytest.raises(
        RuntimeError, match='none of the checkpoints is complete: .*iter_12.pth.*iter_10.pth'
    ):
        tiny_run.train(config, tmp_path / 'run', resume=True, **RUN)


def test_resume_of_a_stock_checkpoint_goes_on_in_the_data(config, whole_run, tmp_path):
    """A checkpoint of mmengine's own hook has no random states; the data still is not started
    over."""
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    checkpoint = load_checkpoint_file(whole_run / 'iter_10.pth')
    del checkpoint['resume_state']
    torch.save(checkpoint, work_dir / 'iter_10.pth')
    tiny_run.train(config, work_dir, resume=True, **RUN)
    expected = tiny_run.read_diary(whole_run)[0][10:]
    seen = tiny_run.read_diary(work_dir)[0]
    assert [line['files'] for line in seen] == [line['files'] for line in expected]
    assert [line['pixels'] for line in seen] == [line['pixels'] for line in expected]


def test_epochs_are_resumed_too(config, tmp_path):
    """An epoch-based run of stock parts, stopped after its first epoch of three, and that without
    its validation."""
    options = dict(
        train_cfg=dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=3, val_interval=1),
        train_dataloader__sampler__type='DefaultSampler',
        log_processor__by_epoch=True,
        default_hooks__checkpoint__by_epoch=True,
        default_hooks__checkpoint__interval=1,
    )
    tiny_run.train(config, tmp_path / 'whole', **options)
    options['default_hooks__checkpoint__max_keep_ckpts'] = 1
    process = tiny_run.start(tiny_run.train, config, tmp_path / 'run', **options)
    tiny_run.kill_when(process, (tmp_path / 'run/epoch_1.pth').exists)
    # other workers make the rest, and the same of it
    tiny_run.train(
        config,
        tmp_path / 'run',
        resume=True,
        train_dataloader__num_workers=2,
        train_dataloader__persistent_workers=True,
        **options,
    )
    expected = {line['iter']: line for line in tiny_run.read_diary(tmp_path / 'whole')[0]}
    seen = {line['iter']: line for line in tiny_run.read_diary(tmp_path / 'run')[0]}
    assert len(expected) == 18 and seen == expected
    last, expected_last = (
        load_checkpoint_file(tmp_path / name / 'epoch_3.pth') for name in ('run', 'whole')
    )
    assert_equal(last['state_dict'], expected_last['state_dict'], 'state_dict')
    scores = [
        checkpoint['message_hub']['log_scalars']['val/mIoU'].data[0].tolist()
        for checkpoint in (last, expected_last)
    ]
    assert scores[0] == scores[1]


class Patient(Hook):
    """Counts its validations, and remembers its last score and a tensor, as a hook that stops a run
    might."""

    priority = 'LOWEST'  # after the checkpoint is saved

    def __init__(self):
        self.waited, self.scores, self.total, self.model = 0, [], torch.zeros(2), None

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.total = self.total + float(outputs['loss'])
        self.model = runner.model  # nothing to save

    def after_val_epoch(self, runner, metrics=None):
        self.waited += 1
        self.scores.append(metrics['mIoU'])


HOOKS.register_module(name='PatientHook', module=Patient, force=True)
ACCUMULATE = dict(
    train_cfg__max_iters=8,
    train_cfg__val_interval=4,
    default_hooks__checkpoint__interval=2,
    default_hooks__checkpoint__max_keep_ckpts=9,
    optim_wrapper__accumulative_counts=4,
    default_hooks__patient=dict(type='PatientHook'),
)


@pytest.fixture(scope='module')
def accumulated(config):
    """The work dir of an undisturbed run that steps its optimizer every 4 iterations."""
    tiny_run.train(config, config.parent / 'accumulated', **ACCUMULATE)
    return config.parent / 'accumulated'


@pytest.mark.parametrize('at', [2, 4, 6])
def test_accumulated_gradients_and_hooks_are_resumed(config, accumulated, tmp_path, at):
    checkpoint = load_checkpoint_file(accumulated / f'iter_{at}.pth')
    assert ('gradients' in checkpoint['resume_state']) == (at % 4 != 0)
    shutil.copy(accumulated / f'iter_{at}.pth', tmp_path)
    tiny_run.train(config, tmp_path, resume=True, **ACCUMULATE)
    last, expected = (
        load_checkpoint_file(folder / 'iter_8.pth') for folder in (tmp_path, accumulated)
    )
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'resume_state'):
        assert_equal(last[key], expected[key], key)
    state = last['resume_state']['hooks']['Patient']
    assert (
        state['waited'] == len(state['scores']) >= 1
        and state['total'][0] > 0
        and 'model' not in state
    )


def test_a_lost_accumulation_is_said(config, accumulated, tmp_path):
    checkpoint = load_checkpoint_file(accumulated / 'iter_2.pth')
    del checkpoint['resume_state']['gradients']
    torch.save(checkpoint, tmp_path / 'iter_2.pth')
    tiny_run.train(config, tmp_path, resume=True, **ACCUMULATE)
    assert (
        'without the gradients that were accumulated' in next(tmp_path.glob('*/*.log')).read_text()
    )


def test_an_early_stop_comes_when_it_would_have(config, tmp_path):
    options = dict(
        train_cfg__max_iters=12,
        train_cfg__val_interval=2,
        default_hooks__checkpoint__interval=1,
        default_hooks__checkpoint__max_keep_ckpts=20,
        optim_wrapper__optimizer__lr=0.0,
        default_hooks__stop=dict(
            type='EarlyStoppingHook', monitor='aAcc', patience=3, min_delta=1e6, rule='greater'
        ),
    )
    tiny_run.train(config, tmp_path / 'whole', **options)
    ends = max(line['iter'] for line in tiny_run.read_diary(tmp_path / 'whole')[0])
    assert ends < 12
    for at in (3, 4, 5):  # 4 is validated, and saved before and after it
        folder = tmp_path / str(at)
        folder.mkdir()
        shutil.copy(tmp_path / 'whole' / f'iter_{at}.pth', folder)
        tiny_run.train(config, folder, resume=True, **options)
        assert max(line['iter'] for line in tiny_run.read_diary(folder)[0]) == ends


@pytest.mark.parametrize(
    'done, val_interval, due',
    [(4, 4, True), (5, 4, False), (6, 4, True), (6, 5, True), (2, 4, False)],
)
def test_a_missed_validation_is_due_at_its_interval_and_at_the_end(done, val_interval, due):
    loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    loop.__dict__.update(
        _iter=done,
        _max_iters=6,
        val_begin=1,
        val_interval=val_interval,
        dynamic_milestones=[0],
        dynamic_intervals=[val_interval],
    )
    assert validation_is_due(SimpleNamespace(train_loop=loop, val_loop=object())) == due
    assert not validation_is_due(SimpleNamespace(train_loop=loop, val_loop=None))


def hold(folder: str) -> None:
    held = files.lock_folder(folder)
    Path(folder, 'held').touch()
    time.sleep(600)
    held.close()


def test_a_work_dir_in_use_is_refused(config, tmp_path):
    holder = tiny_run.start(hold, str(tmp_path))
    until = time.monotonic() + 120
    while not (tmp_path / 'held').exists() and time.monotonic() < until:
        time.sleep(0.05)
    try:
        with pytest.raises(
            RuntimeError, match=f'{tmp_path} is in use by another run .process {holder.pid} on '
        ):
            tiny_run.train(config, tmp_path, train_cfg__max_iters=1)
    finally:
        holder.kill()
        holder.join()
    assert not list(tmp_path.glob('*.pth'))


def validate(config: str, work_dir: str) -> None:
    options = dict(default_hooks__checkpoint__save_best='mIoU')
    metrics = tiny_run.Runner.from_cfg(tiny_run.load(Path(config), Path(work_dir), **options)).val()
    Path(work_dir, 'mIoU').write_text(str(metrics['mIoU']))


def test_a_validation_without_training_saves_nothing(config, tmp_path):
    assert tiny_run.finish(tiny_run.start(validate, str(config), str(tmp_path / 'run'))) == [0]
    assert 0 <= float((tmp_path / 'run' / 'mIoU').read_text()) <= 100
    assert not list(tmp_path.rglob('*.pth'))


@pytest.mark.parametrize('resume', [False, True])
def test_other_machines_receive_the_checkpoint(tmp_path, monkeypatch, resume):
    """The path of a copy is loaded where the file is on another machine, and removed after it."""
    from mmbsa.engine import ResumableCheckpointHook, checkpoint_hook

    asked, copy = [], tmp_path / 'copy.pth'

    def share(path, folder):
        asked.append((path, folder))
        copy.write_bytes(b'weights')
        return str(copy)

    monkeypatch.setattr(checkpoint_hook, 'share_file', share)
    monkeypatch.setattr(
        ResumableCheckpointHook, 'saved', lambda self, runner: [Path('there/iter_2.pth')]
    )
    monkeypatch.setattr(checkpoint_hook, 'whole_checkpoints', lambda paths: iter(paths))
    hook = ResumableCheckpointHook(interval=2)
    runner = SimpleNamespace(
        _hooks=[hook],
        _load_from=None if resume else 'there/weights.pth',
        _resume=resume,
        work_dir=str(tmp_path),
        model=torch.nn.Linear(1, 1),
    )
    hook.before_run(runner)
    wanted = 'there/iter_2.pth' if resume else 'there/weights.pth'
    assert asked == [(wanted, str(tmp_path))] and runner._load_from == str(copy)
    hook.after_load_checkpoint(runner, dict(state_dict=runner.model.state_dict(), **{}))
    assert not copy.exists()
    runner._load_from, runner._resume = 'https://there/weights.pth', False
    hook.before_run(runner)
    assert len(asked) == 1 and runner._load_from.startswith('https')
    monkeypatch.setattr(ResumableCheckpointHook, 'saved', lambda self, runner: [])
    said = []
    runner._load_from, runner._resume = None, True
    runner.logger = SimpleNamespace(info=said.append)
    hook.before_run(runner)
    assert runner._load_from is None and len(asked) == 1 and 'no checkpoint' in said[0]


def test_state_says_whether_its_iteration_was_validated(monkeypatch):
    from mmbsa.engine import ResumableCheckpointHook, checkpoint_hook

    monkeypatch.setattr(checkpoint_hook, 'half_accumulated', lambda optimizer: False)
    hook, runner = ResumableCheckpointHook(interval=2), SimpleNamespace(optim_wrapper=None)
    assert hook._gather_state(runner, 4)['validated'] is False
    hook.before_val(SimpleNamespace(model=torch.nn.Linear(1, 1), hooks=[]))
    assert hook._gather_state(runner, 4)['validated'] is True


def test_outdated_checkpoints_are_removed_last():
    from mmbsa.engine import checkpoint_hook

    gone = []
    hook = SimpleNamespace(
        file_backend=SimpleNamespace(remove=gone.append, name='disk'),
        best_ckpt_path='best_a.pth',
        best_ckpt_path_dict=dict(mIoU='best_b.pth'),
    )
    backend = hook.file_backend
    with checkpoint_hook._removals_last(hook):
        assert hook.file_backend.name == 'disk'
        for name in ('old.pth', 'best_a.pth', 'best_b.pth'):
            hook.file_backend.remove(name)
        assert not gone
    assert gone == ['old.pth'] and hook.file_backend is backend
