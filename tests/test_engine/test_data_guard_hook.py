"""Bad data, or a model that does not fit it, ends in one error that names the file or the config
key."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_run
import torch
from mmengine.runner import Runner

from mmbsa.engine.data_guard_hook import (
    GuardedPipeline,
    check_batches,
    check_padding,
    heads_with_classes,
    label_fillers,
)
from mmbsa.engine.data_sources import README_DEFAULT, README_SECTIONS, missing_files, parts
from mmbsa.utils.errors import DataError

pytestmark = pytest.mark.seg
SHORT = dict(train_cfg__max_iters=6, train_cfg__val_interval=6)


@pytest.fixture
def run(tmp_path):
    """A function that trains the tiny config (on a fresh folder of 11 images) with options."""
    config = tiny_run.write_config(tmp_path)
    return lambda **options: tiny_run.train(config, tmp_path / 'run', **{**SHORT, **options})


def test_good_data_passes(run):
    run()


@pytest.mark.parametrize(
    'name, content',
    [
        ('img/train/03.jpg', b''),
        ('img/train/03.jpg', 'half'),
        ('ann/train/03.png', b'not an image'),
        ('ann/train/03.png', 'half'),
    ],
)
def test_unreadable_file(run, tmp_path, name, content):
    path = tmp_path / 'data' / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == 'half' else content)
    with pytest.raises(
        DataError, match=f'^[^,]*{name}: Load(ImageFromFile|Annotations) failed with'
    ):
        run()


def test_unreadable_file_in_a_worker(run, tmp_path):
    (tmp_path / 'data/img/train/03.jpg').write_bytes(b'not an image')
    with pytest.raises(DataError, match='img/train/03.jpg: LoadImageFromFile failed'):
        run(train_dataloader__num_workers=2)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_missing_annotations_are_listed_before_the_training(run, tmp_path, split):
    for name in ('01.png', '02.png'):
        (tmp_path / 'data/ann' / split / name).unlink()
    with pytest.raises(
        DataError,
        match=rf'(?s){split}_dataloader.dataset \(BaseSegDataset\): 2 files are missing:'
        rf'.*ann/{split}/01.png.*ann/{split}/02.png',
    ):
        run()
    assert not (tmp_path / 'run/diary_0.jsonl').exists()


def test_file_that_vanishes_during_the_run(run, tmp_path):
    (tmp_path / 'data/ann/train/03.png').unlink()
    with pytest.raises(
        DataError, match='ann/train/03.png: LoadAnnotations failed with FileNotFoundError'
    ):
        run(default_hooks__data_guard__check_files=False)


def spoil_labels(path: Path, value: int) -> None:
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    labels[10:30, 10:30] = value
    cv2.imwrite(str(path), labels)


@pytest.mark.parametrize('split, value', [('train', 3), ('train', 254), ('val', 7)])
def test_label_out_of_range(run, tmp_path, split, value):
    spoil_labels(tmp_path / f'data/ann/{split}/02.png', value)
    with pytest.raises(
        DataError,
        match=rf'ann/{split}/02.png: labels \[{value}\] are neither in 0..2 '
        r'\(model.decode_head.num_classes=3\) nor ignored \(ignore_index \[255\]\)',
    ):
        run()


@pytest.mark.parametrize(
    'key, name', [('decode_head', 'decode_head'), ('auxiliary_head', 'auxiliary_head')]
)
def test_wrong_num_classes(run, key, name):
    with pytest.raises(
        ValueError,
        match=rf'model.{name}.num_classes=19, but train_dataloader.dataset '
        r'\(BaseSegDataset\) has 3 classes',
    ):
        run(**{f'model__{key}__num_classes': 19})


def test_wrong_num_classes_in_a_test(tmp_path):
    cfg = tiny_run.load(
        tiny_run.write_config(tmp_path), tmp_path / 'run', model__decode_head__num_classes=2
    )
    with pytest.raises(
        ValueError, match=r'model.decode_head.num_classes=2, but test_dataloader.dataset'
    ):
        Runner.from_cfg(cfg).test()


def test_empty_dataset(run, tmp_path):
    shutil.rmtree(tmp_path / 'data/img/train')
    (tmp_path / 'data/img/train').mkdir()
    with pytest.raises(
        DataError, match=r'train_dataloader.dataset is empty: no \*.jpg in .*img/train'
    ):
        run()
    with pytest.raises(
        DataError, match=r'train_dataloader.dataset is empty: no \*.jpg in .*img/train'
    ):
        run(train_dataloader__dataset__serialize_data=False)


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
    assert (
        missing_files(Dummy(pipeline=GuardedPipeline([np.copy], 3, (), 'x'), __len__=lambda: 5))
        == []
    )


def test_errors_of_other_transforms_name_both_files():
    pipeline = GuardedPipeline(
        [lambda data: dict(data, img=1, gt_seg_map=2), lambda data: 1 // 0], None, (), ''
    )
    with pytest.raises(DataError, match='^a.jpg, b.png: function failed with ZeroDivisionError'):
        pipeline(dict(img_path='a.jpg', seg_map_path='b.png'))


def test_labels_of_classifiers_are_checked():
    """A folder too many in a dataset of classes names the picture and the key, and not a
    device-side assert."""
    structures = pytest.importorskip('mmpretrain.structures')

    def pack(data):
        return dict(img=0, data_samples=structures.DataSample().set_gt_label(data['gt_label']))

    guarded = GuardedPipeline([pack], 3, [], 'model.head.num_classes')
    assert guarded(dict(img_path='a.png', gt_label=2))['data_samples'].gt_label == 2
    with pytest.raises(
        DataError, match=r'b.png: labels \[3\] are neither in 0..2 \(model.head.num_classes=3\)'
    ):
        guarded(dict(img_path='b.png', gt_label=3))


def test_negative_labels_are_refused():
    structures = pytest.importorskip('mmpretrain.structures')

    def pack(data):
        return dict(img=0, data_samples=structures.DataSample().set_gt_label(data['gt_label']))

    with pytest.raises(DataError, match=r'b.png: labels \[-1\] are neither in 0..2'):
        GuardedPipeline([pack], 3, [], 'model.head.num_classes')(
            dict(img_path='b.png', gt_label=-1)
        )
    with pytest.raises(DataError, match=r'b.png: labels \[-2\] are neither in 0..2'):
        GuardedPipeline([pack], 3, [-1], 'model.head.num_classes')(
            dict(img_path='b.png', gt_label=[-1, -2, 0])
        )


def test_label_maps_of_nested_transforms_are_compared():
    structures = pytest.importorskip('mmseg.structures')
    pixel_data = pytest.importorskip('mmengine.structures').PixelData

    def pack(data):
        sample = structures.SegDataSample(metainfo=dict(ori_shape=(8, 6)))
        sample.gt_sem_seg = pixel_data(data=torch.zeros(data['shape'], dtype=torch.long))
        return dict(inputs=torch.zeros(3, 8, 6), data_samples=sample)

    guarded = GuardedPipeline([pack], 3, [255], 'x')
    assert guarded(dict(img_path='a.png', shape=(1, 8, 6)))['inputs'].shape == (3, 8, 6)
    for shape in ((1, 6, 8), (2, 8, 6)):
        with pytest.raises(DataError, match='a.png'):
            guarded(dict(img_path='a.png', shape=shape))


def test_samples_of_no_class_pass():
    structures = pytest.importorskip('mmpretrain.structures')
    sample = structures.DataSample().set_gt_label([])
    guarded = GuardedPipeline([lambda data: dict(data, data_samples=sample)], 3, [], 'x')
    assert guarded(dict(img_path='a.png'))['data_samples'] is sample


def test_heads_of_classifiers_are_known():
    pytest.importorskip('mmpretrain')
    model = torch.nn.Module()
    model.head = torch.nn.Module()
    model.head.num_classes = 7
    assert heads_with_classes(model) == dict(head=model.head)


def resize_labels(path, size):
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST))


@pytest.mark.parametrize(
    'split, size', [('train', (20, 20)), ('train', (80, 80)), ('val', (20, 40))]
)
def test_labels_of_another_size_name_both_files(run, tmp_path, split, size):
    name = f'{split}/02'
    resize_labels(tmp_path / f'data/ann/{name}.png', size)
    with pytest.raises(
        DataError,
        match=rf'img/{name}.jpg, .*ann/{name}.png: the picture is 40 x 40 '
        rf'\(height x width\), its labels are {size[0]} x {size[1]}',
    ):
        run(train_dataloader__batch_size=1, train_cfg__max_iters=11)


def test_labels_of_another_size_are_found_before_a_fixed_resize(run, tmp_path):
    resize_labels(tmp_path / 'data/ann/train/02.png', (20, 20))
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='Resize', scale=(32, 32)),
        dict(type='PackSegInputs'),
    ]
    with pytest.raises(DataError, match='the picture is 40 x 40 .* its labels are 20 x 20'):
        run(train_dataloader__dataset__pipeline=pipeline)


def test_labels_may_be_loaded_after_the_picture_was_resized(run):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(32, 32)),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]
    run(val_dataloader__dataset__pipeline=pipeline)


def test_pictures_turned_by_exif(tmp_path):
    from mmseg.datasets import LoadAnnotations, PackSegInputs
    from mmseg.datasets.transforms import LoadImageFromNDArray  # noqa: F401  registers the loaders
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    exif = Image.Exif()
    exif[0x112] = 6  # shown turned by 90 degrees
    Image.fromarray(pixels).save(tmp_path / 'a.jpg', exif=exif)
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((24, 40), np.uint8))
    from mmcv.transforms import LoadImageFromFile

    steps = [LoadImageFromFile(), LoadAnnotations(), PackSegInputs()]
    data = dict(
        img_path=str(tmp_path / 'a.jpg'),
        seg_map_path=str(tmp_path / 'a.png'),
        seg_fields=[],
        reduce_zero_label=False,
        label_map=None,
    )
    with pytest.raises(
        DataError, match=r'a.jpg, .*a.png: the picture is 40 x 24 .* labels are 24 x 40.*EXIF'
    ):
        GuardedPipeline(steps, 2, [255], 'x')(dict(data))
    steps[0] = LoadImageFromFile(color_type='color_ignore_orientation')
    assert GuardedPipeline(steps, 2, [255], 'x')(dict(data))['inputs'].shape == (3, 24, 40)


@pytest.mark.parametrize('split, channels', [('train', 3), ('val', 4)])
def test_colour_labels_are_refused(run, tmp_path, split, channels):
    path = tmp_path / f'data/ann/{split}/02.png'
    cv2.imwrite(str(path), np.zeros((40, 40, channels), np.uint8))
    with pytest.raises(
        DataError, match=rf'ann/{split}/02.png: labels must have one channel .* {channels} channels'
    ):
        run()


def test_labels_within_other_transforms_are_checked_too(tmp_path):
    config = tiny_run.write_config(tmp_path)
    cfg = tiny_run.load(config, tmp_path / 'run')
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    resize_labels(tmp_path / 'data/ann/val/01.png', (20, 40))
    cfg.model = dict(type='SegTTAModel', module=cfg.model)
    with pytest.raises(
        DataError, match=r'val/01.jpg, .*val/01.png: the picture is 40 x 40 .* are 20 x 40'
    ):
        Runner.from_cfg(cfg).test()


def test_labels_of_16_bits(run, tmp_path):
    path = tmp_path / 'data/ann/train/02.png'
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint16)
    cv2.imwrite(str(path), labels)
    run()
    labels[5, 5] = 257  # its lower 8 bits are a class
    cv2.imwrite(str(path), labels)
    with pytest.raises(DataError, match='ann/train/02.png: labels up to 257 in 16 bits'):
        run()


@pytest.mark.parametrize(
    'options, keys',
    [
        (
            dict(model__decode_head__ignore_index=3),
            'model.decode_head.ignore_index=3, but model.data_preprocessor.seg_pad_val',
        ),
        (
            dict(model__auxiliary_head__ignore_index=3),
            'model.auxiliary_head.ignore_index=3, but model.data_preprocessor.seg_pad_val',
        ),
        (
            dict(model__data_preprocessor__seg_pad_val=200),
            'model.decode_head.ignore_index=255, but model.data_preprocessor.seg_pad_val writes '
            'the label 200',
        ),
    ],
)
def test_padding_that_no_head_ignores(run, tmp_path, options, keys):
    with pytest.raises(ValueError, match=keys):
        run(**options)
    assert not (tmp_path / 'run/diary_0.jsonl').exists()


def test_everything_that_writes_labels_is_compared():
    from mmseg.datasets.transforms import RandomRotate
    from torch.nn import Module

    pipeline = Dummy(
        transforms=[RandomRotate(0.5, 10, seg_pad_val=9), Dummy(pad_val=dict(img=0, seg=8))]
    )
    dataset = Dummy(pipeline=pipeline, reduce_zero_label=True, label_map={0: 0, 1: 255})
    fillers = label_fillers(Module(), dataset)
    assert sorted(fillers.values()) == [8, 9, 255, 255]
    head = Dummy(num_classes=3, ignore_index=255)
    for key, value in fillers.items():
        if value != 255:
            with pytest.raises(
                ValueError, match=r'model.head.ignore_index=255, but train_dataloader.*'
            ):
                check_padding(dict(head=head), {key: value})
    check_padding(dict(head=head), dict(a=255, b=2))


def test_empty_dataset_tells_the_endings_that_are_there(run, tmp_path):
    for path in (tmp_path / 'data/img/train').iterdir():
        path.rename(path.with_suffix('.png'))
    (tmp_path / 'data/img/train/.hidden.jpg').touch()
    (tmp_path / 'data/img/train/.hidden.jpg').unlink()
    with pytest.raises(
        DataError,
        match=r'train_dataloader.dataset is empty: no \*.jpg in .*img/train, '
        r'there are \*.png; the ending is train_dataloader.dataset.img_suffix',
    ):
        run()


@pytest.mark.parametrize('split', ['train', 'val'])
def test_folders_that_are_not_there_are_named_with_the_readme(run, tmp_path, split):
    shutil.rmtree(tmp_path / 'data/img' / split)
    with pytest.raises(
        DataError,
        match=rf'{split}_dataloader.dataset \(BaseSegDataset\): the folder '
        rf'.*img/{split} does not exist; README.md, "Configs"',
    ):
        run()


def test_missing_and_empty_lists_are_named(run, tmp_path):
    with pytest.raises(
        DataError, match='train_dataloader.dataset .*: .*no.txt .ann_file. does not exist'
    ):
        run(train_dataloader__dataset__ann_file=str(tmp_path / 'no.txt'))
    (tmp_path / 'empty.txt').touch()
    with pytest.raises(
        DataError, match='train_dataloader.dataset is empty: .*empty.txt lists nothing'
    ):
        run(train_dataloader__dataset__ann_file=str(tmp_path / 'empty.txt'))


def test_datasets_that_look_for_their_list_themselves(run, tmp_path):
    with pytest.raises(DataError, match='PascalVOCDataset.: .*data/no.txt .ann_file. does not'):
        run(
            train_dataloader__dataset__type='PascalVOCDataset',
            train_dataloader__dataset__metainfo=dict(_delete_=True),
            train_dataloader__dataset__ann_file='no.txt',
        )


def test_parts_of_wrapped_datasets_are_explained(run, tmp_path):
    config = tiny_run.write_config(tmp_path)
    part = tiny_run.load(config, tmp_path / 'run').train_dataloader.dataset.to_dict()
    bad = dict(part, data_prefix=dict(img_path='img/none', seg_map_path='ann/train'))
    with pytest.raises(DataError, match='train_dataloader.dataset .*the folder .*img/none'):
        run(
            train_dataloader__dataset=dict(
                _delete_=True, type='ConcatDataset', datasets=[part, bad]
            )
        )


def test_mistakes_in_the_config_of_a_dataset_stay_what_they_are(run):
    with pytest.raises(TypeError, match='no_such_argument'):
        run(train_dataloader__dataset__no_such_argument=1)


def test_sections_of_the_readme_exist():
    text = (tiny_run.ROOT / 'README.md').read_text()
    for section in (*README_SECTIONS.values(), README_DEFAULT):
        assert f'\n## {section}\n' in text


EPOCHS = dict(
    train_cfg=dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1, val_interval=1),
    train_dataloader__sampler__type='DefaultSampler',
    train_dataloader__drop_last=True,
)


def test_no_batch_at_all_is_an_error(run, tmp_path):
    config = tiny_run.write_config(tmp_path)
    with pytest.raises(
        ValueError,
        match=r'train_dataloader gives no batch: batch_size=64 with drop_last=True, '
        r'but only 11 of the 11 samples',
    ):
        tiny_run.train(config, tmp_path / 'run', train_dataloader__batch_size=64, **EPOCHS)
    with pytest.raises(ValueError, match='val_dataloader gives no batch: batch_size=4'):
        run(val_dataloader__batch_size=4, val_dataloader__drop_last=True)
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_batches_across_the_end_of_the_dataset_are_full(run):
    run(train_dataloader__batch_size=13, train_dataloader__drop_last=True, train_cfg__max_iters=2)


def test_loaders_of_own_batches_are_counted():
    class Own(torch.utils.data.BatchSampler):
        def __len__(self):
            return 0

    data = [1, 2]
    loader = torch.utils.data.DataLoader(
        data, batch_sampler=Own(torch.utils.data.SequentialSampler(data), 2, False)
    )
    with pytest.raises(ValueError, match='gives no batch'):
        check_batches('val_dataloader', loader)


def test_label_maps_are_compared_before_they_are_resized():
    def load(data):
        return dict(data, img=np.zeros((8, 6, 3)), gt_seg_map=np.zeros((4, 3)))

    def resize(data):
        return dict(data, gt_seg_map=np.zeros((8, 6)))

    with pytest.raises(DataError, match='a.png'):
        GuardedPipeline([load, resize], 3, [255], 'x')(dict(img_path='a.png', seg_map_path='b.png'))
