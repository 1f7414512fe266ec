"""The converter's command: official containers in, a checkpoint for backbone or whole model out."""

import argparse
import runpy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmbsa.converters import RECIPES, build_from_official
from mmbsa.registry import MODELS

TOOL = Path(__file__).parents[2] / 'tools' / 'model_converters' / 'convert.py'


@pytest.fixture
def convert(monkeypatch, capsys):
    """Run the tool with command-line arguments in this process and return what it prints."""

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return run


@pytest.mark.shared
@pytest.mark.parametrize('container', ['model', 'state_dict', 'net', None])
def test_containers_and_prefixes(container, tmp_path, shared_path, convert):
    weights = load_file(shared_path('oracle/sdt_v3_cls.weights.safetensors'))
    state = {f'module.{k}': v for k, v in weights.items()}
    content = (
        state
        if container is None
        else {container: state, 'args': argparse.Namespace(lr=1.0), 'epoch': 3}
    )
    torch.save(content, tmp_path / 'official.pth')
    out = convert(
        'sdt_v3_cls', tmp_path / 'official.pth', tmp_path / 'ours.pth', '--args', 'num_heads=8'
    )
    assert '605 tensors converted' in out

    expected = build_from_official('sdt_v3_cls', weights, num_heads=8)
    whole = torch.load(tmp_path / 'ours.pth', weights_only=True)['state_dict']
    expected.load_state_dict(whole)
    backbone = MODELS.build(
        dict(
            expected.conversion_report.config['backbone'],
            init_cfg=dict(
                type='Pretrained', checkpoint=str(tmp_path / 'ours.pth'), prefix='backbone.'
            ),
        )
    )
    backbone.init_weights()
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, whole[f'backbone.{key}'])


def test_a_file_that_does_not_fit_writes_nothing(tmp_path, convert):
    torch.save({'model': {'x.weight': torch.zeros(1)}}, tmp_path / 'other.pth')
    with pytest.raises(KeyError, match='downsample1_2'):
        convert('sdt_v3_cls', tmp_path / 'other.pth', tmp_path / 'ours.pth')
    assert not (tmp_path / 'ours.pth').exists()


def test_the_official_file_is_never_written_over(tmp_path, convert):
    path = tmp_path / 'official.pth'
    torch.save({}, path)
    before = path.read_bytes()
    with pytest.raises(SystemExit, match='would overwrite an input file'):
        convert(sorted(RECIPES)[0], path, f'{tmp_path}/./official.pth')
    assert path.read_bytes() == before
