"""The grids that are shipped: every cell of every budget resolves, and every distinct small model
learns a step."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from mmbsa.apis.ablation import expand, metric_of, read_grid

FOLDER = Path(__file__).resolve().parents[3] / 'configs' / 'ablations'
GRIDS = sorted(path.stem for path in FOLDER.glob('*.yaml'))
#: the figures of STEP's tables and of the paper's ablation, as they were read: how many, and their
#: sum.
PUBLISHED = dict(
    bsa_choices=(0, 0),
    bsa_table4=(4, 319.64),
    mask_rcnn=(0, 0),
    sdtrack=(0, 0),
    spike2former_head=(0, 0),
    step_attention=(6, 574.27),
    step_encodings=(8, 692.03),
    step_neurons=(10, 956.09),
    step_sequences=(6, 559.95),
    step_stem=(12, 1093.98),
    step_surrogates=(8, 763.72),
    temporal=(0, 0),
)
#: grids of another metric than the accuracy of classifiers.
METRICS = dict(spike2former_head='mIoU', mask_rcnn='coco/bbox_mAP_50', sdtrack='track/AUC')


def test_all_grids_are_known():
    assert GRIDS == sorted(PUBLISHED)


@pytest.mark.parametrize('budget', ['full', 'small'])
@pytest.mark.parametrize('name', GRIDS)
def test_every_cell_resolves(name, budget):
    grid = read_grid(FOLDER / f'{name}.yaml', budget)
    cells = expand(grid)
    assert len(cells) == len(grid.combinations()) * len(grid.seeds) and len(grid.seeds) >= 3
    metric = METRICS.get(name, 'accuracy/top1')
    assert metric_of(grid, cells) == metric and grid.title and grid.about
    told = [grid.published_value(values) for values in grid.combinations()]
    figures = [value for value in told if value is not None]
    if (name, budget) != (
        'step_sequences',
        'small',
    ):  # other data, for which nobody published figures
        assert len(figures) == PUBLISHED[name][0] and sum(figures) == pytest.approx(
            PUBLISHED[name][1]
        )
    assert all(
        cell.config.default_hooks.checkpoint.type.split('.')[-1] == 'ResumableCheckpointHook'
        for cell in cells
    )


@pytest.mark.parametrize('name', sorted(set(GRIDS) - {'step_sequences'}))
def test_axes_are_those_of_the_full_budget(name):
    full, small = (read_grid(FOLDER / f'{name}.yaml', budget) for budget in ('full', 'small'))
    assert {axis: list(values) for axis, values in full.axes.items()} == {
        axis: list(values) for axis, values in small.axes.items()
    }


def picture(photo: np.ndarray, steps: list) -> torch.Tensor:
    results = dict(img=photo)
    for step in steps:
        results = step(results)
    return torch.from_numpy(results['img']).permute(2, 0, 1).float()


@pytest.mark.parametrize('name', sorted(set(GRIDS) - set(METRICS)))
def test_every_small_model_learns_a_step(name):
    pytest.importorskip('mmpretrain')
    from mmpretrain.structures import DataSample

    from mmbsa.registry import MODELS, TRANSFORMS

    grid = read_grid(FOLDER / f'{name}.yaml', 'small')
    grid.seeds = [0]
    seen = {}
    init_default_scope('mmpretrain')
    photos = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    for cell in expand(grid):
        torch.manual_seed(0)
        cfg = deepcopy(cell.config.model)
        cfg.backbone.arch.update(embed_dims=32, depth=1, num_heads=2)
        cfg.data_preprocessor = dict(type='ClsDataPreprocessor', **cell.config.data_preprocessor)
        model = MODELS.build(cfg)
        steps = [
            TRANSFORMS.build(step)
            for step in cell.config.train_dataloader.dataset.pipeline
            if step['type'] == 'mmbsa.ToSequence'
        ]
        images = torch.stack([picture(photo, steps) for photo in photos])
        samples = [DataSample().set_gt_label(label) for label in (0, 5, 7, 19)]
        loss = model(
            **model.data_preprocessor(dict(inputs=images, data_samples=samples), True), mode='loss'
        )['loss']
        loss.backward()
        assert loss.isfinite()
        got = sum(p.grad.abs().sum().item() for p in model.parameters() if p.grad is not None)
        seen[cell.label] = (
            loss.item(),
            got,
            sum(p.numel() for p in model.parameters() if p.requires_grad),
        )
    assert len(set(seen.values())) == len(seen), (
        f'values without an effect on the first step: {seen}'
    )


@pytest.mark.parametrize('name, package', [('mask_rcnn', 'mmdet'), ('sdtrack', 'mmengine')])
def test_cells_of_quickstarts_differ_in_the_attention_alone(name, package):
    pytest.importorskip(package)
    for budget in ('full', 'small'):
        grid = read_grid(FOLDER / f'{name}.yaml', budget)
        grid.seeds = [0]
        native, bsa = (cell.config.to_dict() for cell in expand(grid))
        kinds = [cfg['model']['backbone'].pop('attention', None) for cfg in (native, bsa)]
        assert kinds[0] is None and kinds[1]['type'].endswith('BipolarSelfAttention')
        assert native['model'] == bsa['model'] and native['optim_wrapper'] == bsa['optim_wrapper']
        assert native['train_dataloader'] == bsa['train_dataloader']


def test_every_small_segmentor_learns_a_step():
    pytest.importorskip('mmseg')
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    from mmbsa.registry import MODELS

    grid = read_grid(FOLDER / 'spike2former_head.yaml', 'small')
    grid.seeds = [0]
    init_default_scope('mmseg')
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[:, 20:, :30] = 3
    seen = set()
    for cell in expand(grid):
        torch.manual_seed(0)
        model = MODELS.build(dict(cell.config.model.to_dict(), data_preprocessor=None)).train()
        samples = [
            SegDataSample(metainfo=dict(img_shape=(64, 64)), gt_sem_seg=PixelData(data=labels))
            for _ in range(2)
        ]
        losses = model.loss(torch.randn(2, 3, 64, 64), samples)
        total = sum(value for key, value in losses.items() if 'loss' in key)
        total.backward()
        stem = next(model.backbone.parameters())
        assert total.isfinite() and stem.grad.abs().sum() > 0
        seen.add((total.item(), sum(p.numel() for p in model.parameters())))
    assert len(seen) == 4, 'every head and attention differs'
