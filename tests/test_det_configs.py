"""Every detection config is loaded and built; parameters are those of the official code and of the
metafile.
"""

import copy
from types import SimpleNamespace

import config_files
import pytest
import torch
from config_files import load
from mmengine.registry import init_default_scope

pytestmark = pytest.mark.det

pytest.importorskip('mmdet')
BSA = dict(type='mmbsa.BipolarSelfAttention')
CONFIGS = config_files.of_scope('mmdet')
NATIVE = {
    path: config_files.native_config(path)
    for path in CONFIGS
    if '_coco-' in path and '_bsa_' in path
}


def build(cfg):
    init_default_scope('mmdet')
    from mmdet.registry import MODELS

    with torch.device('meta'):
        return MODELS.build(copy.deepcopy(cfg.model))


@pytest.mark.parametrize('path', CONFIGS)
def test_config_builds_what_the_metafile_says(path):
    meta, cfg = config_files.entry(path)['Metadata'], load(path)
    model = build(cfg)
    assert sum(p.numel() for p in model.parameters()) == meta['Parameters']
    assert model.backbone.num_steps == meta['T']
    assert ('bsa' in path) == (cfg.model.backbone.get('attention') == BSA)
    widths = [model.backbone.feature_info[i]['num_chs'] for i in model.backbone.out_indices]
    assert list(model.neck.in_channels) == widths
    assert cfg.train_cfg.get('max_epochs', cfg.train_cfg.get('max_iters')) == meta.get(
        'Epochs', meta.get('Iterations')
    )


def test_heads_of_another_number_of_classes_are_refused():
    from mmdet.registry import HOOKS

    cfg = load('configs/bsa_detection_quickstart.py')
    hook = HOOKS.build(cfg.default_hooks['num_classes'])
    classes = ('a', 'b')
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=classes)))
    runner = SimpleNamespace(train_dataloader=loader, val_dataloader=loader, model=build(cfg))
    for check in (hook.before_train_epoch, hook.before_val_epoch):
        with pytest.raises(AssertionError, match='num_classes.*does not matches.*classes'):
            check(runner)
    loader.dataset.metainfo['classes'] = range(cfg.model.roi_head.bbox_head.num_classes)
    hook.before_train_epoch(runner)


@pytest.mark.parametrize('path', CONFIGS)
def test_config_holds_a_whole_run(path):
    from mmdet.registry import DATASETS, HOOKS, METRICS, TRANSFORMS

    cfg = load(path)
    assert cfg.custom_imports['imports'] == ['mmbsa.utils.mmcv_ops']
    for key in ('optim_wrapper', 'param_scheduler', 'val_cfg', 'test_cfg', 'visualizer', 'env_cfg'):
        assert cfg.get(key), f'{path} has no {key}'
    assert all(HOOKS.get(hook['type']) for hook in cfg.default_hooks.values())
    assert cfg.default_hooks['num_classes']['type'] == 'NumClassCheckHook'
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert DATASETS.get(dataset.type)
        assert all(TRANSFORMS.build(step) for step in dataset.pipeline)
        assert dataset.pipeline[-1]['type'] == 'PackDetInputs'
    assert METRICS.get(cfg.val_evaluator.type)
    classes = cfg.train_dataloader.dataset.get('metainfo', {}).get('classes')
    classes = classes or DATASETS.get(cfg.train_dataloader.dataset.type).METAINFO['classes']
    heads = cfg.model.get('bbox_head') or cfg.model.roi_head.bbox_head
    for head in heads if isinstance(heads, list) else [heads]:
        assert head.num_classes == len(classes)


@pytest.mark.parametrize('path, native_path', NATIVE.items())
def test_bipolar_config_differs_from_its_native_config_in_one_line(path, native_path):
    bipolar, native = load(path).to_dict(), load(native_path).to_dict()
    assert bipolar['model']['backbone'].pop('attention') == BSA
    assert bipolar == native


@pytest.mark.parametrize(
    'path, backbone, total',
    [
        (
            'configs/espikeformer/espikeformer_l_mask-rcnn_2xb4-12e_coco-512x853.py',
            18_626_504,
            38_738_616,
        ),
        (
            'configs/espikeformer/espikeformer_m_mask-rcnn_2xb4-12e_coco-512x853.py',
            9_782_112,
            21_172_240,
        ),
        (
            'configs/meta_spikeformer/meta_spikeformer_15m_mask-rcnn_t1_2xb4-12e_coco-512x853.py',
            14_751_208,
            None,
        ),
        (
            'configs/meta_spikeformer/meta_spikeformer_8-512_mask-rcnn_t1_1xb1-10e_coco-512x853.py',
            54_709_248,
            None,
        ),
    ],
)
def test_parameters_are_the_official_ones(path, backbone, total):
    model = build(load(path))
    assert sum(p.numel() for p in model.backbone.parameters()) == backbone
    assert total is None or sum(p.numel() for p in model.parameters()) == total


def test_recipe_is_the_published_one():
    cfg = load('configs/espikeformer/espikeformer_l_mask-rcnn_2xb4-12e_coco-512x853.py')
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 2e-4, 0.05)
    assert 'paramwise_cfg' not in cfg.optim_wrapper, 'weight decay acts on every parameter'
    assert (cfg.train_dataloader.batch_size, cfg.train_cfg.max_epochs) == (4, 12)
    assert cfg.param_scheduler[1].milestones == [8, 11]
    step = load(
        'configs/meta_spikeformer/meta_spikeformer_8-512_mask-rcnn_t1_1xb1-10e_coco-512x853.py'
    )
    assert (
        step.train_dataloader.batch_size,
        step.train_cfg.max_epochs,
        step.optim_wrapper.optimizer.lr,
    ) == (1, 10, 2.5e-5)


def test_folder_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv('COCO_ROOT', 'some/where')
    cfg = load('configs/espikeformer/espikeformer_l_mask-rcnn_2xb4-12e_coco-512x853.py')
    assert cfg.train_dataloader.dataset.data_root == 'some/where'
    assert cfg.val_evaluator.ann_file == 'some/where/annotations/instances_val2017.json'
