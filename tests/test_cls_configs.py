"""Every classification config is loaded and built, and its metafile entry tells the truth."""

from pathlib import Path

import config_files
import pytest
import torch
from config_files import load

pytest.importorskip('mmpretrain')
from mmpretrain.models import ImageClassifier  # noqa: E402
from mmpretrain.registry import HOOKS, MODELS, TRANSFORMS  # noqa: E402

CONFIGS = config_files.of_scope('mmpretrain')
BSA = dict(type='mmbsa.BipolarSelfAttention')
#: number of classes of the data an entry names.
CLASSES = {
    'ImageNet-1K': 1000,
    'CIFAR-10': 10,
    'CIFAR-100': 100,
    'CIFAR10-DVS': 10,
    'DVS128 Gesture': 11,
    'N-MNIST': 10,
    'N-Caltech101': 101,
    'Sequential MNIST': 10,
    'Permuted sequential MNIST': 10,
    'Sequential CIFAR-10': 10,
    'N-CARS': 2,
    'UCF101-DVS': 101,
    'HMDB51-DVS': 51,
    'SHD': 20,
    'N-TIDIGITS': 11,
    'ES-ImageNet': 1000,
    'HAR-DVS': 300,
    'CUB-200-2011': 200,
    'Stanford Cars': 196,
    'Stanford Dogs': 120,
    'FGVC-Aircraft': 100,
    'Oxford 102 Flowers': 102,
}


def build(cfg):
    """The model without memory for its weights, and without a teacher, whose weights would be
    downloaded."""
    model = cfg.model.to_dict() if hasattr(cfg.model, 'to_dict') else dict(cfg.model)
    model.pop('teacher', None)
    with torch.device('meta'):
        return MODELS.build(model)


@pytest.mark.parametrize('path', CONFIGS)
def test_config_builds_what_the_metafile_says(path):
    cfg, entry = load(path), config_files.entry(path)
    meta, model = entry['Metadata'], build(cfg)
    assert isinstance(model, ImageClassifier)
    levels = {getattr(m, 'levels', 1) for m in model.modules() if type(m).__name__.endswith('Node')}
    built = dict(
        Parameters=sum(p.numel() for p in model.parameters()),
        T=model.backbone.num_steps,
        D=max(levels),
    )
    assert {key: meta[key] for key in built} == built
    classes = CLASSES[meta['Training Data']]
    assert cfg.model.head.num_classes == cfg.model.data_preprocessor.num_classes == classes
    assert ('_bsa_' in f'_{Path(path).stem}') == (cfg.model.backbone.get('attention') == BSA)
    assert model.head.in_channels == model.backbone.out_channels[-1]
    for depth, total in (model.get_layer_depth(name) for name, _ in model.named_parameters()):
        assert 0 <= depth < total


@pytest.mark.parametrize('path', CONFIGS)
def test_config_holds_a_whole_run(path):
    cfg = load(path)
    for key in (
        'optim_wrapper',
        'train_cfg',
        'val_evaluator',
        'test_evaluator',
        'visualizer',
        'tta_model',
        'env_cfg',
    ):
        assert cfg.get(key), f'{path} has no {key}'
    hooks = [*cfg.default_hooks.values(), *cfg.get('custom_hooks', [])]
    assert all(HOOKS.get(hook['type']) for hook in hooks)
    warmup, cosine = cfg.param_scheduler
    assert (warmup.begin, warmup.end, cosine.end) == (0, cosine.begin, cosine.get('end'))
    epochs = cfg.train_cfg.max_epochs
    assert cosine.end in (epochs, epochs - 10), (
        'the cosine ends with the run, or ten epochs before it'
    )
    ends = [
        switch.action_epoch
        for hook in hooks
        if hook['type'] == 'SwitchRecipeHook'
        for switch in hook['schedule']
    ]
    assert bool(ends) <= bool(cfg.model.get('train_cfg')) and all(end < epochs for end in ends)
    for split in ('train', 'val', 'test'):
        pipeline = cfg[f'{split}_dataloader'].dataset.pipeline
        assert (
            all(TRANSFORMS.build(step) for step in pipeline)
            and pipeline[-1]['type'] == 'PackInputs'
        )


NATIVE = {path: config_files.native_config(path) for path in CONFIGS if '_bsa' in path}


@pytest.mark.parametrize('path', NATIVE)
def test_bipolar_config_is_its_native_config_with_another_attention(path):
    """On CIFAR and events nothing else differs; on ImageNet the paper of BSA has schedules of its
    own."""
    bipolar, native = load(path).to_dict(), load(NATIVE[path]).to_dict()
    assert bipolar['model']['backbone'].pop('attention') == BSA
    if 'imagenet' in path:
        assert bipolar['model'] == native['model']
    else:
        assert bipolar == native


@pytest.mark.parametrize(
    'path, batch, rate, epochs, processes',
    [
        (
            'configs/spikingformer/spikingformer_8-512_bsa_4xb16-100e_imagenet-224.py',
            64,
            7e-6,
            100,
            4,
        ),
        (
            'configs/qkformer/qkformer_10-384_bsa_4xb25-200e_imagenet-224.py',
            100,
            6e-4 * 100 / 256,
            200,
            4,
        ),
        ('configs/bsa_imagenet.py', 600, 6e-4 * 600 / 256, 200, 4),
        ('configs/qkformer/qkformer_10-384_8xb32-acc2-200e_imagenet-224.py', 512, 1.2e-3, 200, 8),
        ('configs/qkformer/qkformer_10-768_8xb24-acc3-200e_imagenet-224.py', 576, 1.35e-3, 200, 8),
        ('configs/espikeformer/espikeformer_m_8xb256-200e_imagenet-224.py', 2048, 4.8e-3, 200, 8),
        (
            'configs/meta_spikeformer/meta_spikeformer_8-512_t1_8xb128-200e_imagenet-224.py',
            1024,
            2.4e-3,
            200,
            8,
        ),
        ('configs/spikformer/spikformer_8-512_8xb24-310e_imagenet-224.py', 192, 5e-4, 310, 8),
    ],
)
def test_recipe_is_the_published_one(path, batch, rate, epochs, processes):
    cfg = load(path)
    images = (
        cfg.train_dataloader.batch_size
        * processes
        * cfg.optim_wrapper.get('accumulative_counts', 1)
    )
    assert (images, cfg.train_cfg.max_epochs) == (batch, epochs)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(rate)
    assert 'auto_scale_lr' not in cfg or cfg.auto_scale_lr.base_batch_size == batch


def test_ablation_baseline_is_the_published_recipe():
    cfg = load('configs/spikingformer/spikingformer_4-384_b64-410e_cifar100-32.py')
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 5e-4, 0.06)
    assert (
        cfg.train_cfg.max_epochs,
        cfg.train_dataloader.batch_size,
        cfg.model.backbone.num_steps,
    ) == (410, 64, 4)
    assert cfg.custom_hooks[0].schedule == [dict(action_epoch=201, batch_augments=None)]
    assert build(cfg).backbone.arch['num_heads'] == 8


def test_pretraining_and_segmentation_agree_on_the_network():
    """Weights of configs/bsa_imagenet.py fit configs/bsa_ade20k.py but for the layer scales and the
    classifier."""
    pytest.importorskip('mmseg')
    pretrained = build(load('configs/bsa_imagenet.py')).state_dict()
    cfg = load('configs/bsa_ade20k.py')
    assert cfg.model.backbone.init_cfg.prefix == 'backbone.'
    from mmseg.registry import MODELS as SEGMENTATION

    with torch.device('meta'):
        wanted = SEGMENTATION.build(cfg.model).backbone.state_dict()
    given = {
        key.removeprefix('backbone.'): value.shape
        for key, value in pretrained.items()
        if key.startswith('backbone.')
    }
    assert {key for key in given if key not in wanted} == set()
    assert all(key.endswith('.scale') for key in wanted if key not in given)
    assert all(given[key] == value.shape for key, value in wanted.items() if key in given)


def test_folders_come_from_the_environment(monkeypatch):
    monkeypatch.setenv('IMAGENET_ROOT', 'some/where')
    for path in (
        'configs/bsa_imagenet.py',
        'configs/spikformer/spikformer_8-512_8xb24-310e_imagenet-224.py',
    ):
        cfg = load(path)
        assert {
            cfg[f'{split}_dataloader'].dataset.data_root for split in ('train', 'val', 'test')
        } == {'some/where'}
