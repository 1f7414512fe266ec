"""ModelNet and ScanObjectNN from files written as they are distributed, and the generated
solids."""

import numpy as np
import pytest

h5py = pytest.importorskip('h5py')
from mmengine.dataset import pseudo_collate  # noqa: E402

from mmbsa.datasets.point_files import read_off, read_points, sample_mesh  # noqa: E402
from mmbsa.datasets.point_solids import SOLIDS, draw_solid  # noqa: E402
from mmbsa.datasets.points import (  # noqa: E402
    MODELNET10,
    MODELNET40,
    SCANOBJECTNN,
    ModelNet,
    ScanObjectNN,
)
from mmbsa.registry import DATASETS  # noqa: E402

PIPELINE = [
    dict(type='mmbsa.LoadPoints', mesh_points=64),
    dict(type='mmbsa.SamplePoints', num_points=16),
    dict(type='mmbsa.NormalizePoints'),
    dict(type='mmbsa.PackPoints'),
]
#: a cube; the counts follow OFF without a break, as in ModelNet, and one face is a square.
CUBE = (
    'OFF8 11 0\n' + '\n'.join(f'{x} {y} {z}' for x in (0, 2) for y in (0, 2) for z in (0, 2)) + '\n'
    '3 0 1 3\n3 0 3 2\n3 4 6 7\n3 4 7 5\n3 0 4 5\n3 0 5 1\n'
    '3 2 3 7\n3 2 7 6\n3 0 2 6\n3 0 6 4\n4 1 5 7 3\n'
)


def write_h5(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, 'w') as file:
        for name, array in arrays.items():
            file[name] = array


def write_txt(root, classes):
    (root / f'modelnet{len(classes)}_shape_names.txt').write_text('\n'.join(classes))
    for split, shapes in dict(train=('night_stand_0001', 'bed_0001'), test=('bed_0002',)).items():
        (root / f'modelnet{len(classes)}_{split}.txt').write_text('\n'.join(shapes) + '\n')
        for shape in shapes:
            path = root / shape.rpartition('_')[0] / f'{shape}.txt'
            path.parent.mkdir(exist_ok=True)
            np.savetxt(
                path,
                np.random.default_rng(len(shape)).normal(size=(40, 6)),
                delimiter=',',
                fmt='%.6f',
            )


def write_off(root):
    for name in MODELNET10:
        for split in ('train', 'test'):
            folder = root / name / split
            folder.mkdir(parents=True)
            (folder / f'{name}_0001.off').write_text(CUBE)
            (folder / f'._{name}_0001.off').write_bytes(b'of macOS')


def batch(dataset):
    data = pseudo_collate([dataset[i] for i in range(2)])
    assert all(
        cloud.shape[0] == 16 and abs(float(cloud[:, :3].norm(dim=1).max()) - 1) < 1e-5
        for cloud in data['inputs']
    )
    return data


def test_modelnet_txt(tmp_path):
    write_txt(tmp_path, MODELNET10)
    dataset = ModelNet(str(tmp_path), classes=10, pipeline=PIPELINE)
    data = batch(dataset)
    assert [int(s.gt_label) for s in data['data_samples']] == [MODELNET10.index('night_stand'), 1]
    assert data['inputs'][0].shape == (16, 6) and dataset.CLASSES == MODELNET10
    raw = np.loadtxt(tmp_path / 'bed' / 'bed_0002.txt', delimiter=',')[:16]
    one = ModelNet(str(tmp_path), 'test', classes=10, pipeline=PIPELINE)[0]['inputs'].numpy()
    xyz = raw[:, :3] - raw[:, :3].mean(0)
    np.testing.assert_allclose(one[:, :3], xyz / np.linalg.norm(xyz, axis=1).max(), atol=1e-5)
    np.testing.assert_allclose(one[:, 3:], raw[:, 3:], atol=1e-5)


@pytest.mark.parametrize('classes, labels', [(40, [0, 2, 33, 2]), (10, [1, 8, 1])])
def test_modelnet_h5(tmp_path, classes, labels):
    clouds = np.random.rand(4, 20, 3).astype(np.float32)
    write_h5(
        tmp_path / 'ply_data_train0.h5',
        data=clouds[:2],
        normal=-clouds[:2],
        label=np.uint8([[0], [2]]),
    )
    write_h5(
        tmp_path / 'ply_data_train1.h5',
        data=clouds[2:],
        normal=-clouds[2:],
        label=np.uint8([[33], [2]]),
    )
    (tmp_path / 'train_files.txt').write_text(
        'data/x/ply_data_train0.h5\ndata/x/ply_data_train1.h5\n'
    )
    dataset = ModelNet(str(tmp_path), classes=classes)
    assert dataset.get_gt_labels().tolist() == labels
    np.testing.assert_array_equal(
        dataset[len(dataset) - 1]['points'], np.concatenate([clouds[3], -clouds[3]], 1)
    )
    assert MODELNET40[33] == 'table' and len(set(MODELNET40)) == 40


def test_modelnet_off(tmp_path):
    write_off(tmp_path)
    dataset = ModelNet(str(tmp_path), classes=10, pipeline=PIPELINE)
    assert len(dataset) == 10 and batch(dataset)['inputs'][0].shape == (16, 6)


def test_scanobjectnn_reads_its_files(tmp_path):
    clouds = np.random.rand(3, 30, 3).astype(np.float32)
    for folder, labels in dict(main_split=[0, 1, 2], main_split_nobg=[14, 3, 7]).items():
        write_h5(
            tmp_path / folder / 'training_objectdataset_augmentedrot_scale75.h5',
            data=clouds,
            label=np.int32(labels),
        )
    dataset = ScanObjectNN(str(tmp_path), pipeline=PIPELINE)
    assert dataset.get_gt_labels().tolist() == [14, 3, 7] and len(SCANOBJECTNN) == 15
    assert batch(dataset)['inputs'][0].shape == (16, 3)
    assert ScanObjectNN(str(tmp_path), background=True).get_gt_labels().tolist() == [0, 1, 2]


def test_mesh_is_sampled_on_its_surface(tmp_path):
    (tmp_path / 'cube.off').write_text(CUBE)
    vertices, triangles = read_off(tmp_path / 'cube.off')
    assert vertices.shape == (8, 3) and triangles.shape == (12, 3)
    points = sample_mesh(vertices, triangles, 3000)
    xyz, normals = points[:, :3], points[:, 3:]
    on_side = np.isclose(xyz, 0, atol=1e-5) | np.isclose(xyz, 2, atol=1e-5)
    assert on_side.any(1).all() and np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert (np.abs(normals).argmax(1) == on_side.argmax(1)).mean() > 0.99
    sides = np.histogram(np.abs(normals).argmax(1), bins=3, range=(-0.5, 2.5))[0]
    assert (np.abs(sides / 3000 - 1 / 3) < 0.05).all()


@pytest.mark.parametrize(
    'change, message',
    [
        ('PLY\n', "begin with 'OFF'"),
        ('OFF\n8 12', 'broken OFF mesh'),
        ('OFF\nx y z', 'broken OFF mesh'),
        ('OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 5\n', 'broken OFF mesh'),
    ],
)
def test_broken_meshes_are_named(tmp_path, change, message):
    (tmp_path / 'x.off').write_text(change)
    with pytest.raises(ValueError, match=message) as error:
        read_off(tmp_path / 'x.off')
    assert 'x.off' in str(error.value)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match='modelnet40_train.txt or .*train_files.txt or .*airplane'
    ):
        ModelNet(str(tmp_path))
    with pytest.raises(FileNotFoundError, match='modelnet10_train.txt'):
        ModelNet(str(tmp_path), classes=10, layout='txt')
    for kwargs in (dict(classes=20), dict(layout='ply'), dict(split='val')):
        with pytest.raises(ValueError, match=next(iter(kwargs))):
            ModelNet(str(tmp_path), **kwargs)
    (tmp_path / 'modelnet10_train.txt').write_text('sofa_0001\nspaceship_0001\n')
    with pytest.raises(ValueError, match='spaceship'):
        ModelNet(str(tmp_path), classes=10)
    with pytest.raises(FileNotFoundError, match='training_objectdataset_augmentedrot_scale75.h5'):
        ScanObjectNN(str(tmp_path))
    with pytest.raises(ValueError, match='variant'):
        ScanObjectNN(str(tmp_path), variant='PB')
    path = tmp_path / 'main_split_nobg' / 'training_objectdataset_augmentedrot_scale75.h5'
    write_h5(path, data=np.zeros((2, 5, 3)))
    with pytest.raises(ValueError, match='label is expected'):
        ScanObjectNN(str(tmp_path))
    path.unlink()
    write_h5(path, data=np.zeros((2, 5, 3)), label=[0, 15])
    with pytest.raises(ValueError, match='0..14'):
        ScanObjectNN(str(tmp_path))
    path.unlink()
    write_h5(path, data=np.zeros((2, 5, 3)), label=[0, 1, 2])
    with pytest.raises(ValueError, match="differ in their lengths: {'data': 2, 'label': 3}"):
        ScanObjectNN(str(tmp_path))
    (tmp_path / 'words.txt').write_text('a b c\n')
    with pytest.raises(ValueError, match='not a table of numbers'):
        read_points(tmp_path / 'words.txt')


@pytest.mark.parametrize('name', SOLIDS)
def test_solids_are_deterministic_centred_and_of_radius_one(name):
    options = dict(num_points=128, noise=0.0, occlusion=0.4, rotation='any')
    cloud = draw_solid(name, np.random.default_rng(7), **options)
    assert np.array_equal(cloud, draw_solid(name, np.random.default_rng(7), **options))
    assert cloud.shape == (128, 3) and cloud.dtype == np.float32
    np.testing.assert_allclose(cloud.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(cloud, axis=1).max(), 1, atol=1e-5)


def test_solids_have_their_shapes():
    random = np.random.default_rng(0)
    assert np.linalg.norm(SOLIDS['sphere'](random, 200), axis=1).min() >= 0.9
    assert (SOLIDS['bowl'](random, 200)[:, 2] <= 0).all()
    torus = SOLIDS['torus'](random, 200)
    assert len(torus) == 200 and np.hypot(*torus[:, :2].T).min() > 0.6
    box = SOLIDS['box'](random, 500)
    assert (np.isclose(np.abs(box), np.abs(box).max(0), rtol=1e-9, atol=0).sum(1) == 1).all()


def test_splits_share_no_cloud_and_classes_take_turns():
    train, val = (
        DATASETS.build(dict(type='mmbsa.PointSolids', length=20, split=split, num_points=32))
        for split in ('train', 'val')
    )
    assert train.get_gt_labels().tolist() == [*range(10)] * 2 and len(SOLIDS) >= 8
    assert not any(np.array_equal(train[i]['points'], val[i]['points']) for i in range(20))
    assert np.array_equal(train[3]['points'], train[3]['points'])
    for kwargs in (
        dict(length=0),
        dict(num_points=0),
        dict(noise=-1),
        dict(occlusion=1),
        dict(rotation='x'),
        dict(split='all'),
    ):
        with pytest.raises(ValueError, match=next(iter(kwargs))):
            DATASETS.build(dict(type='mmbsa.PointSolids', **kwargs))
