"""Names of configs say what the configs hold, and cannot say anything else."""

import importlib.util
from pathlib import Path

import config_files
import pytest
from mmengine import Config

ROOT = Path(__file__).resolve().parents[2]


def load_tool():
    spec = importlib.util.spec_from_file_location(
        'config_names', ROOT / 'tools' / 'dev' / 'config_names.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool()
NAMED = [path for path in config_files.ALL if not tool.is_entry_point(Path(path))]


@pytest.mark.parametrize('path', NAMED)
def test_config_path_is_the_path_of_the_file(path):
    assert str(tool.config_path(Config.fromfile(ROOT / path))) == path


CIFAR = 'configs/spikformer/spikformer_4-384_b128-410e_cifar10-32.py'
ADE20K = 'configs/espikeformer/espikeformer_m_fpn_4xb4-160k_ade20k-512x512.py'
EVENTS = 'configs/spikformer/spikformer_tim-2-256_b16-500e_cifar10dvs-64.py'


@pytest.mark.parametrize(
    'path, changes, name',
    [
        (CIFAR, {'train_dataloader.batch_size': 32}, 'spikformer_4-384_b32-410e_cifar10-32'),
        (CIFAR, {'train_cfg.max_epochs': 100}, 'spikformer_4-384_b128-100e_cifar10-32'),
        (CIFAR, {'model.backbone.num_steps': 2}, 'spikformer_4-384_t2_b128-410e_cifar10-32'),
        (CIFAR, {'model.backbone.arch': '8-512'}, 'spikformer_8-512_b128-410e_cifar10-32'),
        (
            CIFAR,
            {'train_dataloader.dataset.type': 'mmbsa.CIFAR100'},
            'spikformer_4-384_b128-410e_cifar100-32',
        ),
        (
            CIFAR,
            {'optim_wrapper.accumulative_counts': 2, 'auto_scale_lr.base_batch_size': 512},
            'spikformer_4-384_2xb128-acc2-410e_cifar10-32',
        ),
        (
            CIFAR,
            {'model.backbone.attention.type': 'mmbsa.BipolarSelfAttention'},
            'spikformer_4-384_bsa_b128-410e_cifar10-32',
        ),
        (
            ADE20K,
            {'crop_size': (256, 512), 'train_cfg.max_iters': 1500},
            'espikeformer_m_fpn_4xb4-1500i_ade20k-256x512',
        ),
        (
            ADE20K,
            {'model.backbone.neuron.levels': 2, 'model.backbone.num_steps': 2},
            'espikeformer_m_fpn_t2d2_4xb4-160k_ade20k-512x512',
        ),
        (
            EVENTS,
            {'train_dataloader.dataset.pipeline.0.size': (48, 64)},
            'spikformer_tim-2-256_b16-500e_cifar10dvs-48x64',
        ),
    ],
)
def test_config_path_follows_every_part(path, changes, name):
    cfg = Config.fromfile(ROOT / path)
    cfg.merge_from_dict(changes)
    assert tool.config_path(cfg).stem == name


def test_config_path_refuses_a_batch_that_does_not_divide():
    cfg = Config.fromfile(ROOT / CIFAR)
    cfg.auto_scale_lr = dict(base_batch_size=100)
    with pytest.raises(ValueError, match='base_batch_size=100 is not a multiple of the 128'):
        tool.config_path(cfg)


def test_main_names_a_config_that_lies(tmp_path, monkeypatch, capsys):
    folder = tmp_path / 'configs' / 'spikformer'
    folder.mkdir(parents=True)
    Config.fromfile(ROOT / CIFAR).dump(folder / 'spikformer_8-512.py')
    found = tool.mismatches(tmp_path)
    assert [(str(a), str(b)) for a, b in found] == [
        ('configs/spikformer/spikformer_8-512.py', CIFAR)
    ]
    monkeypatch.setattr('sys.argv', ['config_names.py', str(folder / 'spikformer_8-512.py')])
    with pytest.raises(SystemExit):
        tool.main()
    assert capsys.readouterr().out.strip() == CIFAR
