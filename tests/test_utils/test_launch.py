"""What the tools say when data or weights are not there: one line, before anything is trained."""

import pytest
import tiny_run
import tiny_tools

from mmbsa.utils import launch
from mmbsa.utils.launch import read_config

pytestmark = pytest.mark.seg
CONFIGS = [
    path
    for path in sorted((tiny_run.ROOT / 'configs').glob('bsa_*.py'))
    if 'quick' not in path.stem
]
QUICK = ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']


@pytest.mark.parametrize('config', CONFIGS, ids=lambda path: path.stem)
def test_missing_data_is_one_line_with_the_readme(config, tmp_path, monkeypatch):
    if 'imagenet' in config.stem:
        pytest.importorskip('mmpretrain')
    monkeypatch.chdir(tmp_path)  # where no data are
    with pytest.raises(SystemExit) as stop:
        tiny_tools.run_tool(
            'train.py', monkeypatch, config, '--work-dir', 'run', '--cfg-options', *QUICK
        )
    text = str(stop.value)
    assert text.startswith('error: train_dataloader.dataset (') and '\n' not in text
    assert 'does not exist' in text and 'README.md, "' in text
    assert not list(tmp_path.rglob('*.pth'))


def test_a_bad_photo_is_one_message_without_the_workers_traceback(tmp_path, monkeypatch):
    config = tiny_run.write_config(tmp_path)
    (tmp_path / 'data/img/train/03.jpg').write_bytes(b'no photo')
    with pytest.raises(
        SystemExit, match=r'^error: \S+03.jpg: LoadImageFromFile failed with'
    ) as stop:
        tiny_tools.run_tool(
            'train.py',
            monkeypatch,
            config,
            '--work-dir',
            tmp_path / 'run',
            '--cfg-options',
            'train_dataloader.num_workers=1',
        )
    assert 'Traceback' not in str(stop.value)


@pytest.mark.parametrize(
    'text, reason',
    [('model = dibt(a=1)', 'NameError'), ('model = dict(', 'SyntaxError'), ('\0', '')],
)
def test_a_config_that_cannot_be_read_is_one_line(tmp_path, text, reason):
    path = tmp_path / 'broken.py'
    path.write_text(text)
    with pytest.raises(SystemExit) as stop:
        read_config(path)
    said = str(stop.value)
    assert said.startswith(f'error: config {path} cannot be read: {reason}') and '\n' not in said


def test_yapf_is_imported_again_where_its_cache_is_half_written(monkeypatch):
    import builtins

    real, calls = builtins.__import__, []

    def import_(name, *args, **kwargs):
        if name == 'yapf':
            calls.append(name)
            if len(calls) < 3:
                raise EOFError('Ran out of input')
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', import_)
    launch.import_yapf()
    assert len(calls) == 3
    calls.clear()
    with pytest.raises(EOFError):
        launch.import_yapf(attempts=2)
