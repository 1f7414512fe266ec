"""tools/analysis_tools/draw_attention.py: the drawn weights are those of the op, and the tool says
what it cannot draw."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmbsa.ops import bipolar_attention

pytestmark = pytest.mark.seg
ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.] * 3, std=[60.] * 3,
                           bgr_to_rgb=True),
    backbone=dict(type='mmbsa.ESpikeFormer',
                  arch=dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2),
                  attention=dict(type='mmbsa.BipolarSelfAttention'), out_indices=(2, 4)),
    neck=dict(type='mmbsa.TemporalReadout'),
    decode_head=dict(type='FCNHead', in_channels=16, in_index=1, channels=8, num_convs=1,
                     num_classes=3, norm_cfg=dict(type='BN')),
    test_cfg=dict(mode='whole'))
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
"""


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location(
        'draw_attention', ROOT / 'tools/analysis_tools/draw_attention.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    from mmengine import Config
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    folder = tmp_path_factory.mktemp('model')
    (folder / 'config.py').write_text(CONFIG)
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(folder / 'config.py').model)
    meta = dict(classes=('a', 'b', 'c'), palette=[[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    torch.save(
        dict(meta=dict(dataset_meta=meta), state_dict=model.state_dict()), folder / 'weights.pth'
    )
    cv2.imwrite(
        str(folder / 'a.png'),
        np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8),
    )
    return [str(folder / name) for name in ('a.png', 'config.py', 'weights.pth')]


@pytest.mark.parametrize('normalizer', ['shiftmax', 'softmax', 'none'])
def test_weights_are_those_of_the_op(tool, normalizer):
    generator = torch.Generator().manual_seed(0)
    heads, d, height, width = 2, 5, 3, 4
    q, k = (
        torch.randint(-1, 2, (heads * d, height, width), generator=generator).float()
        for _ in range(2)
    )
    values = torch.eye(height * width).expand(
        heads, -1, -1
    )  # attention over the identity returns its weights

    def split(x):
        return x.view(heads, d, height * width).transpose(1, 2)

    expected = bipolar_attention(split(q), split(k), values, normalizer=normalizer)
    options = dict(normalizer=normalizer, scale=1.0)
    for place in ((0, 0), (2, 3)):
        scores, weights = tool.look(q, k, heads, options, place)
        assert scores.shape == weights.shape == (heads, height, width)
        token = place[0] * width + place[1]
        torch.testing.assert_close(weights.flatten(1), expected[:, token])


def test_drawing_has_its_tiles(tool):
    sheet = tool.tiles(np.arange(3 * 2 * 2).reshape(3, 2, 2))
    assert sheet.shape == (5, 5) and np.isnan(sheet[2]).all() and np.isnan(sheet[3:, 2:]).all()
    assert sheet[:2, :2].tolist() == [[0, 1], [2, 3]] and sheet[3:, :2].tolist() == [
        [8, 9],
        [10, 11],
    ]


def test_picture_is_written(tool, files, tmp_path, capsys):
    out = tmp_path / 'new' / 'attention.png'
    assert tool.main([*files, '--out', str(out), '--layer', '0', '--query', '0.9', '0.1']) == 0
    assert cv2.imread(str(out)).shape[1] == 1500
    assert 'stages.3' in capsys.readouterr().out


@pytest.mark.parametrize('option, value', [('--layer', '2'), ('--head', '2'), ('--step', '1')])
def test_what_is_out_of_range_is_named(tool, files, tmp_path, capsys, option, value):
    assert tool.main([*files, '--out', str(tmp_path / 'a.png'), option, value]) == 1
    assert option in capsys.readouterr().err and not (tmp_path / 'a.png').exists()


def test_bad_pictures_and_queries(tool, files, tmp_path, capsys):
    (tmp_path / 'b.png').write_bytes(b'no picture')
    assert tool.main([str(tmp_path / 'b.png'), *files[1:], '--out', str(tmp_path / 'a.png')]) == 1
    assert 'b.png' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main([*files, '--out', str(tmp_path / 'a.png'), '--query', '1.5', '0'])
