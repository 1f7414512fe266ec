"""CIFAR in all its distributed forms, and what happens when one is broken."""

import pickle

import numpy as np
import pytest
from tiny_data import write_cifar

from mmbsa.datasets import CIFAR10, CIFAR100

CLASSES = {10: CIFAR10, 100: CIFAR100}


@pytest.fixture(autouse=True)
def four_images(monkeypatch):
    for dataset in CLASSES.values():
        monkeypatch.setattr(dataset, 'IMAGES_PER_FILE', dict(train=4, test=4))


@pytest.mark.parametrize('archive', [False, True], ids=['folder', 'archive'])
@pytest.mark.parametrize('form', ['py', 'bin'])
@pytest.mark.parametrize('number', [10, 100])
def test_every_form_holds_the_same_photos(tmp_path, number, form, archive):
    content = write_cifar(tmp_path, number, form, archive=archive)
    for split in ('train', 'test'):
        data = CLASSES[number](str(tmp_path), split=split)
        parts = [value for name, value in content.items() if ('test' in name) == (split == 'test')]
        pixels, labels = np.concatenate([p for p, _ in parts]), sum((lab for _, lab in parts), [])
        assert len(data) == len(pixels) == (20 if (number, split) == (10, 'train') else 4)
        assert data.get_gt_labels().tolist() == labels and data.get_cat_ids(1) == [labels[1]]
        info = data.get_data_info(2)
        assert info['img'].shape == (32, 32, 3) and info['img'].dtype == np.uint8
        # a photo is stored plane by plane: red, green, blue
        assert (info['img'][..., 1].ravel() == pixels[2][1024:2048]).all()
    assert len(data.CLASSES) == len(set(data.CLASSES)) == number


def test_the_folder_itself_may_be_the_root(tmp_path):
    write_cifar(tmp_path, 10, 'py')
    assert len(CIFAR10(str(tmp_path / 'cifar-10-batches-py'))) == 20


def test_other_members_of_an_archive_are_not_read(tmp_path):
    write_cifar(tmp_path, 10, 'py', archive=True)
    (path,) = tmp_path.glob('*.tar.gz')
    data = CIFAR10(str(tmp_path), split='test')
    assert set(data._members(path)) == {'test_batch', 'batches.meta'} & set(
        name for names in data.FILES['test'] for name in names
    )


def test_nothing_there(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=rf'cifar-10-python.tar.gz.*{tmp_path}.*download=True'
    ):
        CIFAR10(str(tmp_path))
    with pytest.raises(ValueError, match="split must be one of .*'val'"):
        CIFAR10(str(tmp_path), split='val')
    with pytest.raises(ValueError, match='data_root'):
        CIFAR10('')


def test_broken_files_are_named(tmp_path):
    write_cifar(tmp_path, 10, 'bin')
    file = tmp_path / 'cifar-10-batches-bin' / 'data_batch_2.bin'
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match='data_batch_2.bin: expected records of 3073 bytes'):
        CIFAR10(str(tmp_path))
    file.write_bytes(whole[:-3073])
    with pytest.raises(ValueError, match='data_batch_2.bin: expected 4 images and labels, found 3'):
        CIFAR10(str(tmp_path))
    file.write_bytes(bytes([10]) + whole[1:])
    with pytest.raises(
        ValueError, match=r'data_batch_2.bin: labels .*\.\.10 are not all in 0\.\.9'
    ):
        CIFAR10(str(tmp_path))
    file.unlink()
    with pytest.raises(FileNotFoundError, match='data_batch_2.bin is missing'):
        CIFAR10(str(tmp_path))


def test_broken_pickles_and_archives_are_named(tmp_path):
    write_cifar(tmp_path, 100, 'py')
    file = tmp_path / 'cifar-100-python' / 'train'
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    with pytest.raises(
        ValueError, match='train: not a python batch of CIFAR with data and fine_labels'
    ):
        CIFAR100(str(tmp_path))
    file.write_bytes(pickle.dumps(dict(data=np.zeros((4, 5), np.uint8), fine_labels=[0] * 4)))
    with pytest.raises(ValueError, match=r'train: expected uint8 data of shape \(N, 3072\)'):
        CIFAR100(str(tmp_path))
    write_cifar(tmp_path / 'a', 100, 'py', archive=True)
    archive = tmp_path / 'a' / 'cifar-100-python.tar.gz'
    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(ValueError, match='cifar-100-python.tar.gz: not a complete tar archive'):
        CIFAR100(str(tmp_path / 'a'))


def test_a_pickle_cannot_run_code(tmp_path):
    write_cifar(tmp_path, 100, 'py')
    ran = tmp_path / 'ran'

    class Trap:
        def __reduce__(self):
            return (open, (str(ran), 'w'))

    (tmp_path / 'cifar-100-python' / 'train').write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match='train: not a python batch'):
        CIFAR100(str(tmp_path))
    assert not ran.exists()


def test_download_only_when_asked(tmp_path, monkeypatch):
    asked = []

    def fetch(url, root, filename, md5):
        asked.append((url, filename, md5))
        write_cifar(tmp_path, 10, 'py', archive=True)

    monkeypatch.setattr('torchvision.datasets.utils.download_url', fetch)
    with pytest.raises(FileNotFoundError):
        CIFAR10(str(tmp_path))
    assert not asked
    assert len(CIFAR10(str(tmp_path), download=True)) == 20
    assert [a[1] for a in asked] == ['cifar-10-python.tar.gz'] and len(asked[0][2]) == 32


def test_other_processes_wait_for_the_download(tmp_path, monkeypatch):
    def arrive():
        write_cifar(tmp_path, 10, 'py', archive=True)

    monkeypatch.setattr('mmbsa.datasets.cifar.is_main_process', lambda: False)
    monkeypatch.setattr('mmbsa.datasets.cifar.barrier', arrive)
    assert len(CIFAR10(str(tmp_path), download=True)) == 20
