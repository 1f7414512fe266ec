"""Counts of parameters and multiply-accumulates against arithmetic done by hand."""

import pathlib
import re
import runpy
import subprocess
import sys

import pytest
import tiny_run
from mmengine.config import Config
from torch import nn

pytestmark = pytest.mark.seg
SCRIPT = tiny_run.ROOT / 'tools' / 'analysis_tools' / 'get_flops.py'
TOOL = runpy.run_path(str(SCRIPT))


class Two(nn.Module):
    """A body and a head that is called, like mmseg's heads, by its ``forward``."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.decode_head = nn.Sequential(nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1))

    def forward(self, image, mode):
        feature = self.backbone(image)
        tokens = feature.flatten(2).transpose(1, 2)
        mixed = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return self.decode_head.forward(mixed.transpose(1, 2).view_as(feature).clamp(0, 1))


def test_counts_by_hand():
    result = TOOL['count'](Two().eval(), (6, 8))
    pixels = 6 * 8
    backbone, head, attention = pixels * 27 * 4, pixels * (4 * 2 + 2 * 2), 2 * pixels * pixels * 4
    assert result['by_part'] == {
        'backbone': (27 * 4 + 8, backbone),
        'decode_head': (4 * 2 + 2 + 2 * 2 + 2, head),
    }
    assert result['macs'] == backbone + head + attention
    assert result['params'] == 27 * 4 + 8 + 16
    assert result['uncounted']['aten.clamp.default'] == (1, 4 * pixels)
    assert not any(
        name.startswith(('aten.view', 'aten.convolution', 'aten.bmm'))
        for name in result['uncounted']
    )


def test_our_attention_is_counted():
    cfg = Config.fromfile(tiny_run.ROOT / 'configs' / 'bsa_quickstart.py')
    result = TOOL['count'](TOOL['build'](cfg), (64, 64))
    assert result['params'] == sum(params for params, _ in result['by_part'].values())
    assert not any(name.startswith('mmbsa.bipolar_attention') for name in result['uncounted'])
    assert result['macs'] == sum(macs for _, macs in result['by_part'].values())


def test_command_prints_the_table(tmp_path):
    config = tiny_run.write_config(tmp_path)
    output = subprocess.run(
        [
            sys.executable,
            str(SCRIPT),
            str(config),
            '--shape',
            '32',
            '64',
            '--cfg-options',
            'model.decode_head.channels=8',
        ],
        capture_output=True,
        text=True,
        env={'PYTHONPATH': str(tiny_run.ROOT / 'tests') + ':' + str(tiny_run.ROOT)},
        check=True,
    ).stdout
    assert (
        '1 x 3 x 32 x 64' in output and 'decode_head' in output and 'auxiliary_head' not in output
    )
    assert 'aten.native_batch_norm.default' in output.split('not counted')[1]
    # convolution 8 -> 8, convolution 16 -> 8 (both 3x3, with a norm), classifier 8 -> 3
    params = 9 * 8 * 8 + 16 + 9 * 16 * 8 + 16 + 8 * 3 + 3
    assert re.search(rf'^decode_head +{params:,} ', output, re.M)


@pytest.mark.parametrize(
    'make, args, expected',
    [
        ('grey_segmentor', ('--shape', '48', '64'), '1 x 1 x 48 x 64'),
        ('event_classifier', (), '1 x 4 x 2 x 20 x 24'),
        ('event_classifier', ('--shape', '16'), '1 x 4 x 2 x 16 x 16'),
    ],
)
def test_channels_and_frames_are_those_of_the_config(
    make, args, expected, tmp_path, monkeypatch, capsys
):
    pytest.importorskip('mmpretrain')
    import tiny_tools

    config, _ = getattr(tiny_tools, make)(tmp_path)
    tiny_tools.run_tool('analysis_tools/get_flops.py', monkeypatch, config, *args)
    output = capsys.readouterr().out
    assert expected in output and 'head' in output


def test_frames_of_recordings_take_the_steps_of_the_backbone(tmp_path, monkeypatch, capsys):
    pytest.importorskip('mmpretrain')
    import tiny_tools

    config, _ = tiny_tools.event_classifier(tmp_path)
    text = (
        pathlib.Path(config)
        .read_text()
        .replace("num_frames=4, by='number'", "num_frames=None, by='duration', duration=9")
    )
    pathlib.Path(config).write_text(text)
    tiny_tools.run_tool('analysis_tools/get_flops.py', monkeypatch, config)
    assert '1 x 4 x 2 x 20 x 24' in capsys.readouterr().out
