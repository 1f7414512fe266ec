"""RepConv chains: a report says in which form they were counted, and can count them merged."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import mmbsa.models  # noqa: F401
from mmbsa.energy import Report, count_operations
from mmbsa.energy.account import energy, statements
from mmbsa.energy.report import rep_convs, with_merged_convolutions
from mmbsa.models.layers import RepConv
from mmbsa.registry import MODELS

TINY = dict(embed_dims=(8, 16, 16, 16), depths=(1, 1), num_heads=2)


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return MODELS.build(dict(type='mmbsa.MetaSpikeFormer', arch=TINY, num_steps=2)).eval()


def convolutions(report):
    """Dense multiply-adds of every convolution."""
    return {row.name: row.counts.dense for row in report.counted() if row.kind == 'conv'}


def test_a_merged_chain_is_one_dense_convolution():
    torch.manual_seed(0)
    unit = RepConv(4, 6, neuron=dict(type='mmbsa.LIFNode')).eval()
    x = 2 * torch.rand(2, 1, 4, 5, 5)
    chain, merged = count_operations(unit, x), count_operations(unit, x, merge=True)
    positions = 2 * 5 * 5
    assert sum(convolutions(chain).values()) == positions * (4 * 4 + 4 * 9 + 4 * 6)
    assert convolutions(merged) == {'reduce': positions * 4 * 6 * 9}
    assert chain.options['rep_conv'] == dict(chains=1, merged=0)
    assert merged.options['rep_conv'] == dict(chains=0, merged=1)
    # within a chain potentials meet weights; a merged one adds where a spike arrives
    assert chain.total.mac > 0 and merged.total.mac == 0 and merged.total.ac > 0


def test_the_report_says_which_form_was_counted(model):
    x = torch.rand(1, 3, 32, 32)
    chain, merged = count_operations(model, x), count_operations(model, x, merge=True)
    count = rep_convs(model)['chains']
    assert count == sum(isinstance(m, RepConv) for m in model.modules()) > 0
    assert f'{count} RepConv chains are counted as they run, and not merged' in statements(
        energy(chain, 'field')
    )
    assert f'{count} RepConv chains are counted merged, as one convolution each' in statements(
        energy(merged, 'field')
    )
    assert json.loads(merged.json())['options']['rep_conv'] == dict(chains=0, merged=count)
    assert rep_convs(model)['chains'] == count, 'the model is left alone'


def test_models_without_chains_are_counted_as_they_are():
    layer = torch.nn.Linear(3, 2)
    assert with_merged_convolutions(layer) is layer
    report = count_operations(layer, torch.rand(1, 3), merge=True)
    assert 'convolutions in a row are counted as they run' in statements(energy(report, 'field'))


def test_the_tool_merges(tmp_path, capsys):
    root = Path(__file__).resolve().parents[2]
    path = root / 'tools' / 'analysis_tools' / 'get_energy.py'
    spec = importlib.util.spec_from_file_location('get_energy_merge', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    base = (
        root
        / 'configs'
        / 'meta_spikeformer'
        / 'meta_spikeformer_8-512_t1_8xb128-200e_imagenet-224.py'
    )
    config, picture = tmp_path / 'config.py', tmp_path / 'picture.png'
    config.write_text(
        f'_base_ = {str(base)!r}\n'
        f'model = dict(backbone=dict(arch=dict(_delete_=True, **{TINY})),\n'
        '             head=dict(in_channels=16))\n'
    )
    cv2.imwrite(str(picture), np.full((40, 40, 3), 90, np.uint8))
    args = [str(config), '--input', str(picture)]
    reports = []
    for extra in ([], ['--merge']):
        out = tmp_path / f'out{len(extra)}'
        assert tool.main([*args, '--out', str(out), *extra]) == 0
        reports.append(Report.from_dict(json.loads((out / 'report.json').read_text())['report']))
    count = reports[0].options['rep_conv']['chains']
    assert count > 0 and reports[1].options['rep_conv'] == dict(chains=0, merged=count)
    chain, merged = map(convolutions, reports)
    assert len(chain) - len(merged) == 2 * count, 'of three convolutions one is left'
    assert 'chains are counted merged' in capsys.readouterr().out
