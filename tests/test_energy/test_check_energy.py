"""The toy networks, all of their numbers; and that the check sees every kind of difference."""

import importlib.util
import json
from pathlib import Path

import pytest
from parity_fixtures import oracle_folder

from mmbsa.ops import implementations

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location(
    'check_energy', ROOT / 'tools' / 'dev' / 'check_energy.py'
)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)
ORACLE = oracle_folder()

OWN = {
    'units': {'mac_fj': 4600, 'ac_fj': 900, 'shift_fj': 45},
    'cases': [
        {
            'name': 'conv1d_lif',
            'net': {
                'conv': {'weight': [[[1, -1]], [[2, 1]]], 'stride': 2},
                'lif': {'tau': 2.0, 'decay_input': False, 'v_threshold': 1.0, 'v_reset': 0.0},
            },
            'inputs': [[[1, 0, 1, 1, 1]], [[0, 0, 1, 0, 0]]],
            'layers': [
                {
                    'kind': 'conv',
                    'input': 'binary',
                    'dense': 16,
                    'valid': 16,
                    'events': 8,
                    'outputs': 8,
                    'mac': 0,
                    'mac_valid': 0,
                    'mac_nonzero': 0,
                    'ac': 8,
                    'memory': {
                        'weight_words': {'event': 8, 'once': 4, 'per_step': 8, 'dense': 16},
                        'bias_adds': 0,
                    },
                },
                {
                    'kind': 'neuron',
                    'updates': 8,
                    'comparisons': 8,
                    'resets': 5,
                    'spikes': 5,
                    'leaks': 8,
                    'state_words': {'read': 8, 'write': 8},
                },
            ],
            'total': {'mac': 0, 'ac': 8, 'shift': 0},
            'compute_energy_fj': 7200,
            'spikes': [[[1, 0], [1, 1]], [[0, 1], [0, 1]]],
        }
    ],
}


def files() -> list[Path]:
    return sorted(ORACLE.glob('*energy*toy*.json'))


@pytest.mark.shared
@pytest.mark.parametrize('impl', ['auto', 'reference'])
def test_toy_files_agree_in_every_number(impl):
    if not files():
        pytest.skip(f'no file of toy cases in {ORACLE} (set MMBSA_ORACLE_DIR)')
    for path in files():
        good, total, compared, lines = tool.check_file(path, impl)
        assert lines == [] and good == total > 0 and compared > 10 * total


def test_own_case_agrees(tmp_path, capsys):
    path = tmp_path / 'toy.json'
    path.write_text(json.dumps(OWN))
    assert tool.main([str(path)]) == 0
    assert '1/1 networks agree, 35/35 numbers' in capsys.readouterr().out


@pytest.mark.parametrize(
    'where',
    [
        'layers.0.ac',
        'layers.0.memory.weight_words.per_step',
        'layers.1.resets',
        'layers.1.state_words.read',
        'total.ac',
        'compute_energy_fj',
        'spikes.1.0.1',
    ],
)
def test_every_wrong_number_is_found(where, tmp_path, capsys):
    data = json.loads(json.dumps(OWN))
    place = data['cases'][0]
    *path, last = [int(part) if part.isdigit() else part for part in where.split('.')]
    for part in path:
        place = place[part]
    place[last] += 1
    file = tmp_path / 'toy.json'
    file.write_text(json.dumps(data))
    assert tool.main([str(file)]) == 1
    out = capsys.readouterr().out
    assert '0/1 networks agree, 34/35 numbers' in out and 'expected' in out


def test_an_unknown_figure_and_a_missing_layer_are_differences():
    case = json.loads(json.dumps(OWN))['cases'][0]
    case['layers'][0]['flux'] = 3
    assert tool.check(case, OWN['units'])[1] == ['layers[0].flux: expected 3, got None']
    case = json.loads(json.dumps(OWN))['cases'][0]
    case['layers'].pop()
    assert 'layers: expected' in tool.check(case, OWN['units'])[1][0]


@pytest.mark.parametrize(
    'content, message',
    [('{', 'expected JSON'), ('{"cases": []}', 'units'), ('[]', 'expected JSON')],
)
def test_other_files_are_refused(content, message, tmp_path, capsys):
    path = tmp_path / 'toy.json'
    path.write_text(content)
    assert tool.main([str(path)]) == 2
    assert message in capsys.readouterr().err
    assert tool.main([str(tmp_path / 'missing.json')]) == 2


def test_an_unknown_layer_is_named():
    case = json.loads(json.dumps(OWN))['cases'][0]
    case['net'] = {'spline': {}}
    with pytest.raises(tool.ToyError, match='net.spline'):
        tool.check(case, OWN['units'])


def test_implementations_are_there_to_be_compared():
    assert 'reference' in implementations('lif')
