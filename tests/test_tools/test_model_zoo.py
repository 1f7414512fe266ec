"""The model zoo tells the truth: metafiles against built models, the generated page against the
metafiles."""

import importlib.util
from pathlib import Path

import pytest
import timm
import torch
import yaml
from mmengine import Config

from mmbsa.models.classification import presets

ROOT = Path(__file__).resolve().parents[2]
PRESETS = {preset.name: preset for preset in presets()}
#: names of data sets in timm's tags.
DATA = dict(
    in1k='ImageNet-1K',
    cifar10='CIFAR-10',
    cifar100='CIFAR-100',
    cifar10dvs='CIFAR10-DVS',
    dvs128='DVS128 Gesture',
    hardvs='HAR-DVS',
    shd='SHD',
)


def load_tool():
    spec = importlib.util.spec_from_file_location(
        'model_zoo', ROOT / 'tools' / 'dev' / 'model_zoo.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


zoo = load_tool()
FAMILIES = zoo.read('*/presets.yml')
CONFIGS = {**zoo.read('metafile.yml'), **zoo.read('*/metafile.yml')}
MODELS = {model['Name']: model for content in FAMILIES.values() for model in content['Models']}


def test_pages_are_up_to_date():
    pages = zoo.pages()
    assert len(pages) == 1 + len(list(ROOT.glob('configs/*/metafile.yml')))
    for path, text in pages.items():
        assert path.read_text() == text, f'{path}: run python tools/dev/model_zoo.py'


def test_every_family_has_a_metafile_and_a_page():
    folders = {path.parent for path in (ROOT / 'configs').glob('*/*.py')} - {
        ROOT / 'configs' / '_base_'
    }
    assert folders == {path.parent for path in (ROOT / 'configs').glob('*/metafile.yml')}
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert sorted(index['Import']) == sorted(CONFIGS)
    for folder in folders:
        text = (folder / 'README.md').read_text()
        for config in folder.glob('*.py'):
            assert f'({config.name})' in text, config


def test_every_config_is_in_the_table_of_its_task():
    tables = zoo.OUT.read_text().split('\n## ')
    for content in CONFIGS.values():
        for model in content['Models']:
            task = zoo.task_of(model)
            (table,) = (text for text in tables if text.startswith(f'{task}\n'))
            assert f'| `{model["Name"]}` |' in table
            for result in model.get('Results', []):
                assert result['Task'] == task and zoo.TASKS[task] in result['Metrics']


def test_families_without_presets_are_not_for_classification():
    for family, content in zoo.families().items():
        if not (ROOT / 'configs' / family / 'presets.yml').is_file():
            tasks = {zoo.task_of(model) for model in content['Models']}
            assert 'Image Classification' not in tasks, family


def test_check_fails_for_a_stale_page(tmp_path, monkeypatch, capsys):
    page = tmp_path / 'model_zoo.md'
    monkeypatch.setattr(zoo, 'ROOT', tmp_path)
    monkeypatch.setattr(zoo, 'pages', lambda: {page: 'fresh'})
    monkeypatch.setattr('sys.argv', ['model_zoo.py', '--check'])
    for stale in (None, 'stale'):
        if stale:
            page.write_text(stale)
        with pytest.raises(SystemExit, match='model_zoo.md is out of date'):
            zoo.main()
    monkeypatch.setattr('sys.argv', ['model_zoo.py'])
    zoo.main()
    monkeypatch.setattr('sys.argv', ['model_zoo.py', '--check'])
    zoo.main()
    assert page.read_text() == 'fresh'


def test_every_preset_is_in_the_metafile_of_its_family():
    assert {name for name in MODELS if not name.endswith('_bsa')} == set(PRESETS)
    assert len(MODELS) == sum(len(content['Models']) for content in FAMILIES.values())
    for path, content in FAMILIES.items():
        (collection,) = zoo.families()[Path(path).parent.name]['Collections']
        assert (ROOT / collection['Code']['URL']).is_file()
        for model in content['Models']:
            preset = PRESETS[model['Name'].removesuffix('_bsa')]
            meta = model['Metadata']
            assert model['In Collection'] == collection['Name'] and model['Name'].startswith(
                Path(path).parent.name
            )
            assert (meta['Family'], meta['Arch']) == (preset.family.__name__, preset.arch)
            assert meta.get('Attention') == (
                'BipolarSelfAttention' if model['Name'].endswith('_bsa') else None
            )
            assert meta['Training Data'] == DATA[next(iter(preset.data))]


@pytest.mark.parametrize('name', MODELS)
def test_figures_are_those_of_the_built_model(name):
    with torch.device('meta'):
        model = timm.create_model(name)
    meta = MODELS[name]['Metadata']
    levels = {
        getattr(module, 'levels', 1)
        for module in model.modules()
        if type(module).__name__.endswith('Node')
    }
    built = dict(
        Parameters=sum(p.numel() for p in model.parameters()),
        T=model.backbone.num_steps,
        D=max(levels),
        Classes=model.num_classes,
    )
    assert {key: meta[key] for key in built} == built


def test_every_figure_has_a_source():
    for model in MODELS.values():
        for result in model.get('Results', []):
            assert result['source'] in ('ours', 'converted', 'paper')
            assert result['source'] == 'ours' or result['stated in'] in zoo.STATED
            assert (
                result['Dataset'] in DATA.values() and 0 < result['Metrics']['Top 1 Accuracy'] < 100
            )
            assert set(result) <= {
                'Task',
                'Dataset',
                'Metrics',
                'source',
                'stated in',
                *zoo.CONDITIONS,
            }
    with pytest.raises(
        ValueError, match="'stated in: hearsay' must be one of official repository, paper"
    ):
        zoo.source({'source': 'paper', 'stated in': 'hearsay'})


def test_operations_of_spikingformer_are_synaptic():
    """Published energies are 0.9 pJ per operation and 4.6 pJ per multiplication of the first
    convolution, in T steps."""
    counted = [model for model in MODELS.values() if 'SOPs' in model['Metadata']]
    assert [model['Name'] for model in counted] == [
        'spikingformer_8_384',
        'spikingformer_8_512',
        'spikingformer_8_768',
    ]
    for model in counted:
        width = PRESETS[model['Name']].family.arch_settings[model['Metadata']['Arch']]['embed_dims']
        first = 224 * 224 * 9 * 3 * width // 8
        energy = 0.9e-9 * model['Metadata']['SOPs'] + 4.6e-9 * 4 * first
        assert energy == pytest.approx(model['Results'][0]['Metrics']['Energy (mJ)'], abs=0.005)


SEGMENTORS = [
    model
    for content in CONFIGS.values()
    for model in content['Models']
    if zoo.task_of(model) == 'Semantic Segmentation'
]


@pytest.mark.parametrize('model', SEGMENTORS, ids=lambda model: model['Name'])
def test_steps_and_levels_of_configs(model):
    backbone = Config.fromfile(ROOT / model['Config']).model.backbone
    assert model['Metadata']['T'] == backbone.get('num_steps', 1)
    assert model['Metadata']['D'] == backbone.get('neuron', dict(levels=4)).get('levels', 1)
