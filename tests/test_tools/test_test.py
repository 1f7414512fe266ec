"""tools/test.py does for classifiers what mmpretrain's does, for segmentors what mmseg's does, and
draws events."""

import json
import pickle

import cv2
import numpy as np
import pytest
import tiny_run
import tiny_tools

pytest.importorskip('mmpretrain')


@pytest.fixture(scope='module')
def events(tmp_path_factory):
    return tiny_tools.event_classifier(tmp_path_factory.mktemp('events'))


def pictures(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def test_pictures_and_predictions_of_events(events, tmp_path, monkeypatch):
    out, shown = tmp_path / 'pred.pkl', tmp_path / 'shown'
    tiny_tools.run_tool(
        'test.py', monkeypatch, *events, '--work-dir', tmp_path, '--out', out, '--show-dir', shown
    )
    samples = pickle.loads(out.read_bytes())
    assert len(samples) == 6 and all(len(sample['pred_score']) == 2 for sample in samples)
    # the folders have the same names in them, and each sample keeps a picture of its own
    assert pictures(shown) == [f'{kind}/0{i}_0.png' for kind in ('left', 'right') for i in range(3)]
    drawn = cv2.imread(str(shown / 'left/00_0.png'))
    assert drawn.shape[1] >= 224 and len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10


def test_metrics_and_an_interval(events, tmp_path, monkeypatch):
    out, shown = tmp_path / 'metrics.json', tmp_path / 'shown'
    tiny_tools.run_tool(
        'test.py',
        monkeypatch,
        *events,
        '--work-dir',
        tmp_path,
        '--out',
        out,
        '--out-item',
        'metrics',
        '--show-dir',
        shown,
        '--interval',
        '4',
        '--no-pin-memory',
    )
    assert set(json.loads(out.read_text())) == {'accuracy/top1'}
    assert pictures(shown) == ['left/00_0.png', 'right/01_0.png']


def test_mmpretrains_hook_is_replaced_for_events(events, tmp_path, monkeypatch):
    tiny_tools.run_tool(
        'test.py',
        monkeypatch,
        *events,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'default_hooks.visualization.type=VisualizationHook',
        'default_hooks.visualization.enable=True',
        f'default_hooks.visualization.out_dir={tmp_path}/shown',
        'default_hooks.visualization.interval=6',
    )
    assert pictures(tmp_path / 'shown') == ['left/00_0.png']


@pytest.mark.parametrize(
    'args, message',
    [
        (('--out', 'a.txt'), 'must end in .pkl'),
        (('--out', 'a.txt', '--out-item', 'metrics'), 'must end in .json'),
        (('--tta',), '--tta needs tta_pipeline'),
        (
            ('--show-dir', 'x', '--cfg-options', 'default_hooks.visualization=None'),
            'need default_hooks.visualization',
        ),
    ],
)
def test_what_cannot_be_written_is_said_first(events, tmp_path, monkeypatch, args, message):
    with pytest.raises(SystemExit, match=message):
        tiny_tools.run_tool('test.py', monkeypatch, *events, '--work-dir', tmp_path, *args)


def test_out_item_needs_out(events, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        tiny_tools.run_tool('test.py', monkeypatch, *events, '--out-item', 'pred')
    assert '--out-item needs --out' in capsys.readouterr().err


@pytest.fixture
def segmentor(tmp_path):
    """A segmentor's config and weights, whose validation photos have the same name in two
    folders."""
    pytest.importorskip('mmseg')
    config = tiny_run.write_config(tmp_path)
    data = tmp_path / 'data'
    for kind, ending in (('img', '.jpg'), ('ann', '.png')):
        for folder, name in (('x', '00'), ('y', '01')):
            (data / kind / 'val' / folder).mkdir()
            (data / kind / 'val' / (name + ending)).rename(
                data / kind / 'val' / folder / f'00{ending}'
            )
    return config, tiny_tools.save_weights(config)


def test_photos_of_one_name_keep_their_maps_and_pictures(segmentor, tmp_path, monkeypatch):
    tiny_tools.run_tool(
        'test.py',
        monkeypatch,
        *segmentor,
        '--work-dir',
        tmp_path / 'run',
        '--out',
        tmp_path / 'maps',
        '--show-dir',
        tmp_path / 'shown',
    )
    assert pictures(tmp_path / 'maps') == ['02.png', 'x/00.png', 'y/00.png']
    assert pictures(tmp_path / 'shown') == ['test/02.png', 'test/x/00.png', 'test/y/00.png']
    assert cv2.imread(str(tmp_path / 'maps/x/00.png'), cv2.IMREAD_UNCHANGED).shape == (40, 40)


def test_labels_are_never_written_over(segmentor, tmp_path, monkeypatch):
    before = {path: path.read_bytes() for path in (tmp_path / 'data').rglob('*.*')}
    with pytest.raises(ValueError, match='is an input file'):
        tiny_tools.run_tool(
            'test.py',
            monkeypatch,
            *segmentor,
            '--work-dir',
            tmp_path / 'run',
            '--out',
            tmp_path / 'data/ann/val',
        )
    assert {path: path.read_bytes() for path in (tmp_path / 'data').rglob('*.*')} == before


def test_missing_checkpoints_are_one_line(events, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match='error: checkpoint .*no.pth does not exist'):
        tiny_tools.run_tool(
            'test.py', monkeypatch, events[0], tmp_path / 'no.pth', '--work-dir', tmp_path
        )
