"""Every dataset of ``configs/_base_/datasets`` for classification: it loads, builds, and feeds batches to a preprocessor."""
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('mmpretrain')

import tiny_data  # noqa: E402
from mmengine import Config  # noqa: E402
from mmengine.dataset import pseudo_collate  # noqa: E402
from mmengine.registry import DATASETS, DefaultScope  # noqa: E402

from mmbsa.datasets import CIFAR10, CIFAR100  # noqa: E402

BASES = Path(__file__).resolve().parents[2] / 'configs' / '_base_' / 'datasets'


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def load(name, monkeypatch, variable=None, root=None):
    if root is not None:
        monkeypatch.setenv(variable, str(root))
    cfg = Config.fromfile(BASES / f'{name}.py')
    assert cfg.test_dataloader == cfg.val_dataloader and cfg.test_evaluator == cfg.val_evaluator
    return cfg


def build(cfg, **changes):
    return [DATASETS.build({**cfg[f'{part}_dataloader'].dataset, **changes}) for part in ('train', 'val')]


def preprocess(cfg, samples, training=True):
    from mmpretrain.registry import MODELS
    settings = {'type': 'ClsDataPreprocessor', **cfg.data_preprocessor}
    return MODELS.build(settings)(pseudo_collate(samples), training)


def check(cfg, shape, classes, **changes):
    """Build both splits, load some samples, and preprocess them."""
    train, val = build(cfg, **changes)
    assert cfg.data_preprocessor.num_classes == classes == len(train.metainfo['classes'])
    assert train.metainfo['classes'] == val.metainfo['classes']
    for data, training in ((train, True), (val, False)):
        indices = np.linspace(0, len(data) - 1, 4).astype(int)
        batch = preprocess(cfg, [data[int(i)] for i in indices], training)
        assert tuple(batch['inputs'].shape[1:]) == shape and batch['inputs'].dtype == torch.float32
        assert torch.isfinite(batch['inputs']).all()
        labels = torch.cat([sample.gt_label for sample in batch['data_samples']])
        assert labels.tolist() == data.get_gt_labels()[indices].tolist()
    return train, val


@pytest.mark.parametrize('number', [10, 100])
def test_cifar(tmp_path, monkeypatch, number):
    for dataset in (CIFAR10, CIFAR100):
        monkeypatch.setattr(dataset, 'IMAGES_PER_FILE', dict(train=4, test=4))
    tiny_data.write_cifar(tmp_path, number, 'py')
    cfg = load(f'cifar{number}', monkeypatch, f'CIFAR{number}_ROOT', tmp_path)
    train, val = check(cfg, (3, 32, 32), number)
    # what is read as RGB must not be turned around again
    batch = preprocess(cfg, [val[0]], False)['inputs'][0]
    red = val.get_data_info(0)['img'][..., 0]
    expected = (red - cfg.data_preprocessor.mean[0]) / cfg.data_preprocessor.std[0]
    assert np.allclose(batch[0], expected, atol=1e-5)


def test_imagenet(tmp_path, monkeypatch):
    from mmpretrain.datasets import CustomDataset
    for split in ('train', 'val'):
        tiny_data.write_class_folders(tmp_path, ['n1', 'n2'], split, size=80, suffix='.JPEG')
    cfg = load('imagenet', monkeypatch, 'IMAGENET_ROOT', tmp_path)
    with pytest.raises(AssertionError, match='number of subfolders'):  # a thousand classes are asked for
        build(cfg)
    for part in ('train', 'val'):  # the same pipelines on two classes
        dataset = cfg[f'{part}_dataloader'].dataset
        data = CustomDataset(data_root=dataset.data_root, data_prefix=dataset.split, pipeline=dataset.pipeline)
        assert data[3]['inputs'].shape == (3, 224, 224)


def test_tiny_imagenet(tmp_path, monkeypatch):
    for split in ('train', 'val'):
        tiny_data.write_class_folders(tmp_path, [f'n{i:03d}' for i in range(200)], split, 1, 64)
    cfg = load('tiny_imagenet', monkeypatch, 'TINY_IMAGENET_ROOT', tmp_path)
    check(cfg, (3, 64, 64), 200)


@pytest.mark.shared
@pytest.mark.parametrize('name, size, classes, numbers, variable', [
    ('imagenette128', 128, 10, (3000, 1000), 'IMAGENETTE_ROOT'),
    ('tinyimagenet32_20c', 32, 20, (5000, 1000), 'TINYIMAGENET32_ROOT')])
def test_real_photos(shared_path, monkeypatch, name, size, classes, numbers, variable):
    cfg = load(name, monkeypatch, variable, shared_path(f'data/{name}'))
    train, val = check(cfg, (3, size, size), classes)
    assert (len(train), len(val)) == numbers
    monkeypatch.delenv(variable)
    assert load(name, monkeypatch).train_dataloader.dataset.data_root == f'../shared/data/{name}'


def test_a_missing_class_folder_is_an_error(tmp_path, monkeypatch):
    for split, names in (('train', 'abcdefghij'), ('val', 'abcdefghi')):
        tiny_data.write_class_folders(tmp_path, list(names), split, 1)
    cfg = load('imagenette128', monkeypatch, 'IMAGENETTE_ROOT', tmp_path)
    with pytest.raises(AssertionError, match=r'number of subfolders \(9\)'):
        build(cfg)
