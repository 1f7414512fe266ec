"""Bad data, or a model that does not fit it, ends in one error that names the file or the config key."""
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_run
import torch
from mmengine.runner import Runner

from mmbsa.engine.data_guard_hook import DataError, GuardedPipeline, heads_with_classes, missing_files, parts

pytestmark = pytest.mark.seg
SHORT = dict(train_cfg__max_iters=6, train_cfg__val_interval=6)


@pytest.fixture
def run(tmp_path):
    """A function that trains the tiny config (on a fresh folder of 11 images) with options."""
    config = tiny_run.write_config(tmp_path)
    return lambda **options: tiny_run.train(config, tmp_path / 'run', **{**SHORT, **options})


def test_good_data_passes(run):
    run()


@pytest.mark.parametrize('name, content', [
    ('img/train/03.jpg', b''), ('img/train/03.jpg', 'half'), ('ann/train/03.png', b'not an image'),
    ('ann/train/03.png', 'half')])
def test_unreadable_file(run, tmp_path, name, content):
    path = tmp_path / 'data' / name
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) // 2] if content == 'half' else content)
    with pytest.raises(DataError, match=f'^[^,]*{name}: Load(ImageFromFile|Annotations) failed with'):
        run()


def test_unreadable_file_in_a_worker(run, tmp_path):
    (tmp_path / 'data/img/train/03.jpg').write_bytes(b'not an image')
    with pytest.raises(DataError, match='img/train/03.jpg: LoadImageFromFile failed'):
        run(train_dataloader__num_workers=2)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_missing_annotations_are_listed_before_the_training(run, tmp_path, split):
    for name in ('01.png', '02.png'):
        (tmp_path / 'data/ann' / split / name).unlink()
    with pytest.raises(DataError, match=rf'(?s){split}_dataloader.dataset \(BaseSegDataset\): 2 files are missing:'
                       rf'.*ann/{split}/01.png.*ann/{split}/02.png'):
        run()
    assert not (tmp_path / 'run/diary_0.jsonl').exists()


def test_file_that_vanishes_during_the_run(run, tmp_path):
    (tmp_path / 'data/ann/train/03.png').unlink()
    with pytest.raises(DataError, match='ann/train/03.png: LoadAnnotations failed with FileNotFoundError'):
        run(default_hooks__data_guard__check_files=False)


def spoil_labels(path: Path, value: int) -> None:
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    labels[10:30, 10:30] = value
    cv2.imwrite(str(path), labels)


@pytest.mark.parametrize('split, value', [('train', 3), ('train', 254), ('val', 7)])
def test_label_out_of_range(run, tmp_path, split, value):
    spoil_labels(tmp_path / f'data/ann/{split}/02.png', value)
    with pytest.raises(DataError, match=rf'ann/{split}/02.png: labels \[{value}\] are neither in 0..2 '
                       r'\(model.decode_head.num_classes=3\) nor ignored \(ignore_index \[255\]\)'):
        run()


@pytest.mark.parametrize('key, name', [('decode_head', 'decode_head'), ('auxiliary_head', 'auxiliary_head')])
def test_wrong_num_classes(run, key, name):
    with pytest.raises(ValueError, match=rf'model.{name}.num_classes=19, but train_dataloader.dataset '
                       r'\(BaseSegDataset\) has 3 classes'):
        run(**{f'model__{key}__num_classes': 19})


def test_wrong_num_classes_in_a_test(tmp_path):
    cfg = tiny_run.load(tiny_run.write_config(tmp_path), tmp_path / 'run', model__decode_head__num_classes=2)
    with pytest.raises(ValueError, match=r'model.decode_head.num_classes=2, but test_dataloader.dataset'):
        Runner.from_cfg(cfg).test()


def test_empty_dataset(run, tmp_path):
    shutil.rmtree(tmp_path / 'data/img/train')
    (tmp_path / 'data/img/train').mkdir()
    with pytest.raises(DataError, match=r'train_dataloader.dataset is empty: no images in .*img/train'):
        run(train_dataloader__dataset__serialize_data=False)  # else mmengine itself stops, at its serialization


def test_folder_that_is_not_there(run, tmp_path):
    shutil.rmtree(tmp_path / 'data/img/train')
    with pytest.raises(FileNotFoundError, match='img/train'):
        run()


class Dummy(torch.utils.data.Dataset):
    data_prefix = None

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


def test_wrapped_datasets_are_guarded_part_by_part():
    a, b = Dummy(), Dummy()
    assert list(parts(Dummy(dataset=Dummy(datasets=[a, Dummy(dataset=b)])))) == [a, b]


def test_datasets_without_files_are_not_searched():
    assert missing_files(Dummy(pipeline=GuardedPipeline([np.copy], 3, (), 'x'), __len__=lambda: 5)) == []


def test_errors_of_other_transforms_name_both_files():
    pipeline = GuardedPipeline([lambda data: dict(data, img=1, gt_seg_map=2), lambda data: 1 // 0], None, (), '')
    with pytest.raises(DataError, match='^a.jpg, b.png: function failed with ZeroDivisionError'):
        pipeline(dict(img_path='a.jpg', seg_map_path='b.png'))


def test_labels_of_classifiers_are_checked():
    """A folder too many in a dataset of classes names the picture and the key, and not a device-side assert."""
    structures = pytest.importorskip('mmpretrain.structures')

    def pack(data):
        return dict(img=0, data_samples=structures.DataSample().set_gt_label(data['gt_label']))

    guarded = GuardedPipeline([pack], 3, [], 'model.head.num_classes')
    assert guarded(dict(img_path='a.png', gt_label=2))['data_samples'].gt_label == 2
    with pytest.raises(DataError, match=r'b.png: labels \[3\] are neither in 0..2 \(model.head.num_classes=3\)'):
        guarded(dict(img_path='b.png', gt_label=3))


def test_heads_of_classifiers_are_known():
    pytest.importorskip('mmpretrain')
    model = torch.nn.Module()
    model.head = torch.nn.Module()
    model.head.num_classes = 7
    assert heads_with_classes(model) == dict(head=model.head)
