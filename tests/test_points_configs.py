"""Every config of clouds is loaded and built, trains a step, and its metafile entry tells the
truth."""

import config_files
import pytest
import torch
from config_files import load

pytest.importorskip('mmpretrain')
from mmengine.registry import init_default_scope  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402

from mmbsa.datasets.points import MODELNET10, MODELNET40, SCANOBJECTNN  # noqa: E402
from mmbsa.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS  # noqa: E402

CONFIGS = [path for path in config_files.ALL if 'point' in path]
CLASSES = dict(
    ModelNet10=MODELNET10, ModelNet40=MODELNET40, ScanObjectNN=SCANOBJECTNN, PointSolids=range(10)
)


def test_there_are_configs():
    assert len(CONFIGS) >= 7


@pytest.mark.parametrize('path', CONFIGS)
def test_config_builds_what_the_metafile_says(path):
    cfg, meta = load(path), config_files.entry(path)['Metadata']
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) == meta['Parameters']
    assert model.backbone.num_steps == meta['T'] and cfg.train_cfg.max_epochs == meta['Epochs']
    assert cfg.train_dataloader.batch_size == meta['Batch Size']
    assert model.head.num_classes == len(CLASSES[meta['Training Data']])
    assert model.head.in_channels == model.backbone.out_channels[-1]


@pytest.mark.parametrize('path', CONFIGS)
def test_config_holds_a_whole_run(path):
    cfg = load(path)
    assert cfg.default_scope == 'mmbsa' and all(
        HOOKS.get(hook['type']) for hook in cfg.default_hooks.values()
    )
    assert METRICS.build(cfg.val_evaluator) and cfg.test_evaluator == cfg.val_evaluator
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        pipeline = [TRANSFORMS.build(step) for step in dataset.pipeline]
        assert type(pipeline[-1]).__name__ == 'PackPoints' and DATASETS.get(dataset.type)


def test_published_recipe():
    cfg = load(
        'configs/spiking_point_transformer/spiking_point_transformer_t2_b2-200e_modelnet40-1024.py'
    )
    optimizer, schedule = cfg.optim_wrapper.optimizer, cfg.param_scheduler
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay, optimizer.betas) == (
        'AdamW',
        1e-3,
        1e-4,
        (0.9, 0.999),
    )
    assert (schedule.type, schedule.step_size, schedule.gamma, cfg.train_cfg.max_epochs) == (
        'StepLR',
        50,
        0.3,
        200,
    )
    assert cfg.train_dataloader.batch_size == 2 and cfg.train_dataloader.drop_last


def test_quickstart_trains_and_predicts():
    cfg = load('configs/points_quickstart.py')
    init_default_scope('mmbsa')
    torch.manual_seed(0)
    model, dataset = MODELS.build(cfg.model), DATASETS.build(cfg.train_dataloader.dataset)
    data = [dataset[i] for i in range(4)]
    batch = dict(
        inputs=[one['inputs'] for one in data], data_samples=[one['data_samples'] for one in data]
    )
    inputs = model.data_preprocessor(batch, True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(20):
        loss = model(**inputs, mode='loss')['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    predictions = model.test_step(batch)
    assert all(
        isinstance(sample, DataSample) and sample.pred_score.shape == (10,)
        for sample in predictions
    )
