"""Every dataset of ``configs/_base_/datasets`` for classification: it loads, builds, and feeds
batches to a preprocessor."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmpretrain')

import tiny_data  # noqa: E402
from mmengine import Config  # noqa: E402
from mmengine.dataset import pseudo_collate  # noqa: E402
from mmengine.registry import DATASETS, MODELS, DefaultScope  # noqa: E402

from mmbsa.datasets import CIFAR10, CIFAR100  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
BASES = CONFIGS / '_base_' / 'datasets'
NAMES = {path.stem for path in BASES.glob('*.py')}
#: data set -> its bases, and configs of families that change the augmentation or the size
VARIANTS = dict(
    cifar10=[
        'cifar10',
        'spikingresformer/spikingresformer_b128-610e_cifar10-32',
        'spike_driven_transformer/spike_driven_transformer_2-512_b64-310e_cifar10-32',
    ],
    cifar100=[
        'cifar100',
        'spikingresformer/spikingresformer_b128-610e_cifar100-32',
        'spike_driven_transformer/spike_driven_transformer_2-512_b64-310e_cifar100-32',
    ],
    imagenet=[
        'imagenet',
        'imagenet_no_crop',
        'espikeformer/espikeformer_m_8xb256-200e_imagenet-224',
        'spike_driven_transformer/spike_driven_transformer_8-512_8xb48-310e_imagenet-224',
        'spike_driven_transformer/spike_driven_transformer_8-768_8xb36-310e_imagenet-224',
        'spikingresformer/spikingresformer_ti_b32-330e_imagenet-224',
        'spikingresformer/spikingresformer_l_b16-330e_imagenet-224',
        'swformer/swformer_6-512_8xb64-310e_imagenet-256',
        'swformer/swformer_8-512_8xb64-310e_imagenet-256',
    ],
    cifar10_dvs=[
        'cifar10_dvs',
        'spike_driven_transformer/spike_driven_transformer_2-256_b32-210e_cifar10dvs-64',
        'spikformer/spikformer_tim-2-256_b16-500e_cifar10dvs-64',
    ],
    dvs_gesture=['dvs_gesture', 'spikingresformer/spikingresformer_b8-310e_dvs128-64'],
    n_caltech101=['n_caltech101', 'spikformer/spikformer_tim-2-256_b16-500e_ncaltech101-64'],
)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def load(name, monkeypatch, variable=None, root=None):
    if root is not None:
        monkeypatch.setenv(variable, str(root))
    cfg = Config.fromfile((CONFIGS if '/' in name else BASES) / f'{name}.py')
    assert cfg.test_dataloader == cfg.val_dataloader and cfg.test_evaluator == cfg.val_evaluator
    return cfg


def build(cfg, **changes):
    return [
        DATASETS.build({**cfg[f'{part}_dataloader'].dataset, **changes})
        for part in ('train', 'val')
    ]


def preprocess(cfg, samples, training=True):
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


@pytest.mark.parametrize('name', VARIANTS['cifar10'] + VARIANTS['cifar100'])
def test_cifar_base_reads_its_folder(tmp_path, monkeypatch, name):
    number = 100 if 'cifar100' in name else 10
    for dataset in (CIFAR10, CIFAR100):
        monkeypatch.setattr(dataset, 'IMAGES_PER_FILE', dict(train=4, test=4))
    tiny_data.write_cifar(tmp_path, number, 'py')
    cfg = load(name, monkeypatch, f'CIFAR{number}_ROOT', tmp_path)
    train, val = check(cfg, (3, 32, 32), number)
    # what is read as RGB must not be turned around again
    batch = preprocess(cfg, [val[0]], False)['inputs'][0]
    red = val.get_data_info(0)['img'][..., 0]
    expected = (red - cfg.data_preprocessor.mean[0]) / cfg.data_preprocessor.std[0]
    assert np.allclose(batch[0], expected, atol=1e-5)


@pytest.mark.parametrize('name', VARIANTS['imagenet'])
def test_imagenet_base_reads_its_folder(tmp_path, monkeypatch, name):
    from mmpretrain.datasets import CustomDataset

    for split in ('train', 'val'):
        tiny_data.write_class_folders(tmp_path, ['n1', 'n2'], split, size=80, suffix='.JPEG')
    cfg = load(name, monkeypatch, 'IMAGENET_ROOT', tmp_path)
    with pytest.raises(
        AssertionError, match='number of subfolders'
    ):  # a thousand classes are asked for
        build(cfg)
    for part in ('train', 'val'):  # the same pipelines on two classes
        dataset = cfg[f'{part}_dataloader'].dataset
        data = CustomDataset(
            data_root=dataset.data_root, data_prefix=dataset.split, pipeline=dataset.pipeline
        )
        side = 256 if name.endswith('-256') else 224
        assert data[3]['inputs'].shape == (3, side, side)


def test_tiny_imagenet(tmp_path, monkeypatch):
    for split in ('train', 'val'):
        tiny_data.write_class_folders(tmp_path, [f'n{i:03d}' for i in range(200)], split, 1, 64)
    cfg = load('tiny_imagenet', monkeypatch, 'TINY_IMAGENET_ROOT', tmp_path)
    check(cfg, (3, 64, 64), 200)


def test_cifar10_photos_base_reads_its_folder(tmp_path, monkeypatch):
    for split in ('train', 'test'):
        tiny_data.write_class_folders(tmp_path, CIFAR10.METAINFO['classes'], split)
    cfg = load('cifar10_photos', monkeypatch, 'CIFAR10_PHOTOS_ROOT', tmp_path)
    train, _ = check(cfg, (3, 32, 32), 10)
    assert train.metainfo['classes'] == CIFAR10.METAINFO['classes']


@pytest.mark.shared
@pytest.mark.parametrize(
    'name, size, classes, numbers, variable',
    [
        ('imagenette128', 128, 10, (3000, 1000), 'IMAGENETTE_ROOT'),
        ('tinyimagenet32_20c', 32, 20, (5000, 1000), 'TINYIMAGENET32_ROOT'),
    ],
)
def test_real_photos(shared_path, monkeypatch, name, size, classes, numbers, variable):
    cfg = load(name, monkeypatch, variable, shared_path(f'data/{name}'))
    train, val = check(cfg, (3, size, size), classes)
    assert (len(train), len(val)) == numbers
    monkeypatch.delenv(variable)
    assert load(name, monkeypatch).train_dataloader.dataset.data_root == f'data/{name}'


def test_a_missing_class_folder_is_an_error(tmp_path, monkeypatch):
    for split, names in (('train', 'abcdefghij'), ('val', 'abcdefghi')):
        tiny_data.write_class_folders(tmp_path, list(names), split, 1)
    cfg = load('imagenette128', monkeypatch, 'IMAGENETTE_ROOT', tmp_path)
    with pytest.raises(AssertionError, match=r'number of subfolders \(9\)'):
        build(cfg)


def frame_shape(cfg):
    load_step = cfg.train_pipeline[0]
    return (
        load_step.num_frames,
        2 + cfg.data_preprocessor.get('add_sum', False),
        *load_step.get('size', (128, 128)),
    )


@pytest.mark.parametrize('name', VARIANTS['cifar10_dvs'])
def test_cifar10_dvs(tmp_path, monkeypatch, name):
    tiny_data.write_event_folders(
        tmp_path / 'events_np', CIFAR10.METAINFO['classes'], [''], (128, 128), 12
    )
    monkeypatch.setenv('EVENT_CACHE', str(tmp_path / 'cache'))
    cfg = load(name, monkeypatch, 'CIFAR10_DVS_ROOT', tmp_path)
    train, val = check(cfg, frame_shape(cfg), 10)
    assert (len(train), len(val)) == (110, 10)
    assert len(list((tmp_path / 'cache').rglob('*.npz'))) == 8


@pytest.mark.parametrize('name', VARIANTS['dvs_gesture'])
def test_dvs_gesture(tmp_path, monkeypatch, name):
    tiny_data.write_event_folders(
        tmp_path / 'events_np', [str(i) for i in range(11)], ['train', 'test'], (128, 128)
    )
    monkeypatch.setenv('EVENT_CACHE', str(tmp_path / 'cache'))
    cfg = load(name, monkeypatch, 'DVS_GESTURE_ROOT', tmp_path)
    check(cfg, frame_shape(cfg), 11)
    # left and right hands are classes
    assert 'EventFlip' not in str(cfg.train_dataloader) + str(cfg.train_pipeline)


@pytest.mark.parametrize('name', VARIANTS['n_caltech101'])
def test_n_caltech101_base_reads_recordings(tmp_path, monkeypatch, name):
    tiny_data.write_event_folders(
        tmp_path / 'Caltech101',
        [f'c{i:03d}' for i in range(101)],
        [''],
        (180, 240),
        10,
        lambda path, size, count, seed: tiny_data.write_atis_bin(
            path.with_suffix('.bin'), tiny_data.random_events(count, size, seed)
        ),
    )
    monkeypatch.setenv('EVENT_CACHE', str(tmp_path / 'cache'))
    cfg = load(name, monkeypatch, 'N_CALTECH101_ROOT', tmp_path)
    check(cfg, frame_shape(cfg), 101)
    size, steps = (64, 10) if name.endswith('-64') else (128, 16)
    assert frame_shape(cfg) == (steps, 2, size, size)


@pytest.mark.parametrize(
    'name, variable, folders, classes, size',
    [
        ('n_cars', 'N_CARS_ROOT', ['n-cars_train', 'n-cars_test'], 2, (100, 120)),
        ('ucf101_dvs', 'UCF101_DVS_ROOT', [''], 101, (180, 240)),
        ('hmdb51_dvs', 'HMDB51_DVS_ROOT', [''], 51, (180, 240)),
        ('es_imagenet', 'ES_IMAGENET_ROOT', ['train', 'test'], 1000, (256, 256)),
        ('hardvs', 'HARDVS_ROOT', ['train', 'test'], 300, (260, 346)),
    ],
)
def test_event_bases_read_class_folders(
    tmp_path, monkeypatch, name, variable, folders, classes, size
):
    names = ['background', 'cars'] if classes == 2 else [f'c{i:04d}' for i in range(classes)]
    per_class = 5 if folders == [''] else 1  # of which the first 80 % train
    tiny_data.write_event_folders(tmp_path, names, folders, size, per_class)
    monkeypatch.setenv('EVENT_CACHE', str(tmp_path / 'cache'))
    cfg = load(name, monkeypatch, variable, tmp_path)
    train, val = check(cfg, frame_shape(cfg), classes)
    assert (len(train), len(val)) == (classes * (4 if per_class == 5 else 1), classes)


@pytest.mark.parametrize('name, variable', [('shd', 'SHD_ROOT'), ('ntidigits', 'NTIDIGITS_ROOT')])
def test_audio_bases_read_their_files(tmp_path, monkeypatch, name, variable):
    pytest.importorskip('h5py')
    import test_spiking_audio

    if name == 'shd':
        for split in ('train', 'test'):
            test_spiking_audio.write(tmp_path / f'shd_{split}.h5', range(20))
    else:
        names = [f'man-a-{digit}' for digit in 'z123456789o']
        test_spiking_audio.write_digits(tmp_path / 'n-tidigits.hdf5', names, names)
    monkeypatch.setenv('EVENT_CACHE', str(tmp_path / 'cache'))
    cfg = load(name, monkeypatch, variable, tmp_path)
    check(cfg, (10, 2, 16, 16), cfg.data_preprocessor.num_classes)


@pytest.mark.parametrize(
    'name, variable, splits',
    [
        ('cub', 'CUB_ROOT', ('train', 'test')),
        ('stanford_cars', 'STANFORD_CARS_ROOT', ('train', 'test')),
        ('fgvc_aircraft', 'FGVC_AIRCRAFT_ROOT', ('trainval', 'test')),
        ('flowers102', 'FLOWERS102_ROOT', ('trainval', 'test')),
    ],
)
def test_fine_grained_bases_name_mmpretrains_readers(tmp_path, monkeypatch, name, variable, splits):
    (tmp_path / 'devkit').mkdir()  # of Stanford Cars, looked for before anything is read
    for split in ('train', 'test'):
        (tmp_path / 'devkit' / f'cars_{split}_annos.mat').touch()
        (tmp_path / 'devkit' / f'cars_{split}_annos_withlabels.mat').touch()
    cfg = load(name, monkeypatch, variable, tmp_path)
    for dataset, split in zip(build(cfg, lazy_init=True), splits):
        assert dataset.split == split
        classes = dataset.METAINFO.get('classes')  # those of flowers have no names
        assert classes is None or len(classes) == cfg.data_preprocessor.num_classes


def test_stanford_dogs_base_reads_class_folders(tmp_path, monkeypatch):
    names = [f'n{i:08d}-breed' for i in range(120)]
    for split in ('train', 'test'):
        tiny_data.write_class_folders(tmp_path, names, split, 1)
    cfg = load('stanford_dogs', monkeypatch, 'STANFORD_DOGS_ROOT', tmp_path)
    train, val = check(cfg, (3, 224, 224), 120)
    assert (len(train), len(val)) == (120, 120)


@pytest.mark.shared
def test_nmnist_base_reads_recordings(shared_path, monkeypatch):
    cfg = load('nmnist', monkeypatch, 'NMNIST_ROOT', shared_path('data/nmnist_small'))
    train, val = check(cfg, (8, 2, 34, 34), 10)
    frames = val[0]['inputs']
    assert (
        frames.sum() > 1000 and (frames.sum((1, 2, 3)) - frames.sum() / 8).abs().max() < 8
    )  # as many events in each


@pytest.mark.shared
def test_dvs128_object_frames(shared_path, monkeypatch):
    cfg = load(
        'dvs128_object_frames',
        monkeypatch,
        'DVS128_OBJECTS_ROOT',
        shared_path('data/dvs128_object_frames'),
    )
    train, val = check(cfg, (2, 128, 128), 8)
    assert (len(train), len(val)) == (2400, 2560)


@pytest.mark.parametrize('name', ['smnist', 'psmnist'])
def test_sequential_mnist(tmp_path, monkeypatch, name):
    content = tiny_data.write_mnist(tmp_path)
    cfg = load(name, monkeypatch, 'MNIST_ROOT', tmp_path)
    train, val = check(cfg, (1, 1, 784), 10)
    images, labels = content['test']
    steps = val[2]['inputs'].flatten()
    assert val.get_gt_labels().tolist() == labels.tolist()
    plain = torch.from_numpy(images[2].ravel().copy())
    assert torch.equal(steps, plain) == (name == 'smnist') and torch.equal(
        steps.sort()[0], plain.sort()[0]
    )


def test_nothing_is_downloaded(tmp_path, monkeypatch):
    cfg = load('smnist', monkeypatch, 'MNIST_ROOT', tmp_path)
    with pytest.raises(RuntimeError, match='Cannot find MNIST dataset'):
        build(cfg)


def test_sequential_cifar(tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, 'IMAGES_PER_FILE', dict(train=4, test=4))
    tiny_data.write_cifar(tmp_path, 10, 'bin')
    check(load('scifar', monkeypatch, 'CIFAR10_ROOT', tmp_path), (3, 1, 1024), 10)


@pytest.mark.shared
def test_sequential_photos(shared_path, monkeypatch):
    cfg = load(
        'sequential_tinyimagenet32_20c',
        monkeypatch,
        'TINYIMAGENET32_ROOT',
        shared_path('data/tinyimagenet32_20c'),
    )
    _, val = check(cfg, (3, 1, 1024), 20)
    photo = cv2.imread(val.get_data_info(7)['img_path'])
    assert val[7]['inputs'][:, 0, 33].tolist() == photo[1, 1].tolist()


SEGMENTATION = {
    'ade20k',
    'ade20k_shortest_edge',
    'camvid',
    'cityscapes',
    'coco_stuff164k',
    'drawn_scenes',
    'pascal_voc12',
}
#: tests/test_det_configs.py and tests/test_track_configs.py
DETECTION = {'coco_instance', 'drawn_instances', 'event_boxes'}
TRACKING = {'fe108_tracking', 'felt_tracking', 'visevent_tracking', 'moving_targets'}
#: tests/test_points_configs.py
CLOUDS = {'modelnet10', 'modelnet40', 'scanobjectnn'}


def test_every_base_is_tested():
    alone = {
        'class_folders',  # the base of the next, tiny_imagenet excepted
        'cifar10_photos',
        'tiny_imagenet',
        'imagenette128',
        'tinyimagenet32_20c',
        'nmnist',
        'dvs128_object_frames',
        'smnist',
        'psmnist',
        'scifar',
        'sequential_tinyimagenet32_20c',
        'n_cars',
        'ucf101_dvs',
        'hmdb51_dvs',
        'es_imagenet',
        'hardvs',
        'shd',
        'ntidigits',
        'cub',
        'stanford_cars',
        'fgvc_aircraft',
        'flowers102',
        'stanford_dogs',
    }
    named = {name for names in VARIANTS.values() for name in names if '/' not in name}
    shared = {'event_frames', 'event_frames_64'}  # what the event data sets have in common
    assert NAMES == alone.union(SEGMENTATION, CLOUDS, DETECTION, TRACKING, named, shared)


@pytest.mark.parametrize('workers', [0, 2])
def test_frames_do_not_depend_on_workers(tmp_path, monkeypatch, workers):
    """Sample number p of a run is the same whoever makes it, with a cache or without, from the
    start or resumed."""
    from mmbsa.engine.data_stream import DataStream

    tiny_data.write_event_folders(
        tmp_path / 'events_np', CIFAR10.METAINFO['classes'], [''], (128, 128), 3
    )
    monkeypatch.setenv('EVENT_CACHE', str(tmp_path / 'cache'))
    cfg = load('cifar10_dvs', monkeypatch, 'CIFAR10_DVS_ROOT', tmp_path)

    def stream(count, workers, samples=0, cache=True):
        pipeline = [dict(step) for step in cfg.train_pipeline]
        pipeline[0]['num_frames'] = 2
        if not cache:
            pipeline[0]['cache_dir'] = None
        data = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': pipeline})
        loader = torch.utils.data.DataLoader(
            data, 4, num_workers=workers, collate_fn=pseudo_collate
        )
        batches = DataStream(
            loader, dict(type='DefaultSampler', shuffle=True), seed=3, samples=samples
        )
        return [torch.stack(next(batches)['inputs']) for _ in range(count)]

    reference = stream(7, 0, cache=False)
    assert all(torch.equal(a, b) for a, b in zip(stream(7, workers), reference))
    assert all(torch.equal(a, b) for a, b in zip(stream(4, workers, samples=12), reference[3:]))
    assert not torch.equal(reference[0], reference[5])
