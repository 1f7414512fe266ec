"""Every tracking config is loaded and built, and its metafile entry tells the truth."""

import config_files
import numpy as np
import pytest
import tiny_tracking
import torch
from config_files import load
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from mmbsa.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS

CONFIGS = [path for path in config_files.of_scope('mmbsa') if 'point' not in path]
BENCHMARKS = [
    path for path in CONFIGS if path.startswith('configs/sdtrack/') and 'quickstart' not in path
]
BSA = dict(type='BipolarSelfAttention')
#: data set -> (layout, epochs of base and tiny, pairs per epoch)
PROTOCOL = dict(
    fe108=('FE108', 50, 100, 60000),
    visevent=('VisEvent', 100, 100, 30000),
    felt=('FELT', 300, 300, 60000),
)


def data_of(path):
    return next(name for name in PROTOCOL if f'_{name}-' in path)


@pytest.mark.parametrize('path', CONFIGS)
def test_config_builds_what_the_metafile_says(path):
    cfg, meta = load(path), config_files.entry(path)['Metadata']
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    built = dict(
        Parameters=sum(p.numel() for p in model.parameters()),
        T=model.num_steps,
        D=max(getattr(m, 'levels', 1) for m in model.head.modules()),
    )
    assert {key: meta[key] for key in built} == built
    assert ('bsa_' in path) == (cfg.model.backbone.get('attention') == BSA)


@pytest.mark.parametrize('path', CONFIGS)
def test_config_holds_a_whole_run(path):
    cfg = load(path)
    for key in (
        'optim_wrapper',
        'param_scheduler',
        'train_cfg',
        'visualizer',
        'env_cfg',
        'test_dataloader',
    ):
        assert cfg.get(key), f'{path} has no {key}'
    assert all(HOOKS.get(hook['type']) for hook in cfg.default_hooks.values())
    assert METRICS.build(cfg.val_evaluator) and METRICS.build(cfg.test_evaluator)
    crop = next(
        step for step in cfg.train_dataloader.dataset.pipeline if step['type'] == 'CropTrackPair'
    )
    crops = cfg.model.crops
    assert tuple(crop.size) == (crops.template_size, crops.search_size)
    assert tuple(crop.get('factor', (2, 4))) == (crops.template_factor, crops.search_factor)
    assert crop.get('official_quirks', False) == crops.get('official_quirks', False)
    for name in ('train', 'val', 'test'):
        dataset = cfg[f'{name}_dataloader'].dataset
        assert dataset.num_steps == cfg.model.backbone.num_steps, name
        assert dataset.get('test_mode', False) == (name != 'train')
        assert all(TRANSFORMS.build(step) for step in dataset.pipeline)
    assert max(s['end'] for s in cfg.param_scheduler if s['by_epoch']) == cfg.train_cfg.max_epochs


@pytest.mark.parametrize('path', [path for path in BENCHMARKS if '_bsa_' in path])
def test_bipolar_config_differs_from_its_native_config_in_one_line(path):
    bipolar, native = load(path).to_dict(), load(config_files.native_config(path)).to_dict()
    assert bipolar['model']['backbone'].pop('attention') == BSA
    assert bipolar == native


@pytest.mark.parametrize('path', BENCHMARKS)
def test_benchmarks_are_the_published_protocol(path):
    cfg, (layout, base, tiny, pairs) = load(path), PROTOCOL[data_of(path)]
    train = cfg.train_dataloader
    epochs = base if '_base_' in path else tiny
    batch = 18 if '_base_' in path else 16 if '_t2d2_' in path else 8 if '_t4d1_' in path else 42
    assert (cfg.train_cfg.max_epochs, train.batch_size, train.drop_last) == (epochs, batch, True)
    assert (train.dataset.layout, train.dataset.samples_per_epoch, train.dataset.max_gap) == (
        layout,
        pairs,
        200,
    )
    optim = cfg.optim_wrapper
    assert (optim.optimizer.type, optim.optimizer.lr, optim.optimizer.weight_decay) == (
        'AdamW',
        4e-4,
        1e-4,
    )
    assert (
        optim.paramwise_cfg.custom_keys.backbone.lr_mult == 0.1 and optim.clip_grad.max_norm == 0.1
    )
    assert (
        cfg.param_scheduler[0].milestones == [epochs * 4 // 5]
        and cfg.param_scheduler[0].gamma == 0.1
    )
    assert ('mean' in cfg.model.data_preprocessor) == (layout == 'FELT')
    assert cfg.test_evaluator.rules == 'toolkit' and cfg.randomness.seed == 42


@pytest.mark.parametrize(
    'path',
    [
        'configs/sdtrack/sdtrack_tiny_4xb42-100e_fe108-256.py',
        'configs/sdtrack/sdtrack_tiny_t2d2_4xb16-100e_visevent-256.py',
        'configs/sdtrack/sdtrack_tiny_t4d1_4xb8-300e_felt-256.py',
    ],
)
def test_datasets_of_configs_feed_the_model(path, tmp_path):
    cfg = load(path)
    init_default_scope('mmbsa')
    layout, steps = cfg.layout, cfg.model.backbone.num_steps
    for split in ('train', 'test'):
        tiny_tracking.write_sequence(layout, tmp_path, split, 'seq', length=22, steps=steps)
    train, test = (
        DATASETS.build(
            {**cfg[f'{split}_dataloader'].dataset, 'data_root': str(tmp_path), 'toolkit': None}
        )
        for split in ('train', 'test')
    )
    np.random.seed(0)
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    batch = preprocessor(pseudo_collate([train[0], train[1]]), True)
    assert batch['inputs']['search'].shape == (steps, 2, 3, 256, 256)
    assert batch['inputs']['template'].shape == (steps, 2, 3, 128, 128)
    assert (float(batch['inputs']['search'].min()) < 0) == (layout == 'FELT')
    item = test[0]
    assert item['inputs']['frames'][3].shape == (steps, *tiny_tracking.SIZE, 3)
