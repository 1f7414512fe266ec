"""Tiny-ImageNet's two layouts."""

import pytest
from tiny_data import write_photo

from mmbsa.datasets import TinyImageNet

WNIDS = ['n02', 'n01', 'n10']


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'wnids.txt').write_text('\n'.join(WNIDS))
    for wnid in WNIDS:
        for index in range(2):
            write_photo(tmp_path / 'train' / wnid / 'images' / f'{wnid}_{index}.JPEG')
        (tmp_path / 'train' / wnid / f'{wnid}_boxes.txt').write_text('not a photo')
    lines = []
    for index, wnid in enumerate(['n10', 'n01', 'n02', 'n01']):
        write_photo(tmp_path / 'val' / 'images' / f'val_{index}.JPEG')
        lines.append(f'val_{index}.JPEG\t{wnid}\t0\t32\t44\t62')
    (tmp_path / 'val' / 'val_annotations.txt').write_text('\n'.join(lines) + '\n')
    return tmp_path


def test_original_layout(root):
    train, val = TinyImageNet(str(root), 'train'), TinyImageNet(str(root), 'val')
    assert train.metainfo['classes'] == val.metainfo['classes'] == ('n01', 'n02', 'n10')
    assert train.get_gt_labels().tolist() == [0, 0, 1, 1, 2, 2]
    assert val.get_gt_labels().tolist() == [2, 0, 1, 0]
    assert val.get_data_info(2)['img_path'].endswith('val/images/val_2.JPEG')


def test_rearranged_validation(root):
    (root / 'val' / 'val_annotations.txt').unlink()
    for path in (root / 'val' / 'images').iterdir():
        path.unlink()
    (root / 'val' / 'images').rmdir()
    for wnid in WNIDS:
        write_photo(root / 'val' / wnid / 'a.png')
    assert TinyImageNet(str(root), 'val').get_gt_labels().tolist() == [0, 1, 2]


def test_hidden_files_do_not_count(root):
    for path in [path for path in root.rglob('*') if path.is_file()]:
        (path.parent / f'._{path.name}').write_bytes(b'Mac OS X')
    (root / 'train' / '__MACOSX').mkdir()
    (root / 'train' / '.cache').mkdir()
    write_photo(root / 'train' / 'n01' / 'images' / '.thumbs' / 'a.png')
    path = root / 'train' / 'n10' / 'images' / 'n10_0.JPEG'
    path.rename(path.with_suffix('.Jpg'))
    train = TinyImageNet(str(root), 'train')
    assert train.get_gt_labels().tolist() == [0, 0, 1, 1, 2, 2]
    assert len(TinyImageNet(str(root), 'val')) == 4


def test_errors_name_the_file(root, tmp_path):
    with pytest.raises(ValueError, match="split must be one of .*'test'"):
        TinyImageNet(str(root), 'test')
    with pytest.raises(FileNotFoundError, match='missing/train is not a folder'):
        TinyImageNet(str(root / 'missing'))
    annotations = root / 'val' / 'val_annotations.txt'
    annotations.write_text('val_0.JPEG\tn99\n')
    with pytest.raises(ValueError, match="val_annotations.txt:1: 'n99' is none of the 3 classes"):
        TinyImageNet(str(root), 'val')
    annotations.write_text('val_0.JPEG\tn01\nval_9.JPEG\tn01\n')
    with pytest.raises(ValueError, match="val_annotations.txt:2: 'val_9.JPEG' is not in"):
        TinyImageNet(str(root), 'val')
    annotations.unlink()
    with pytest.raises(FileNotFoundError, match='val_annotations.txt is missing'):
        TinyImageNet(str(root), 'val')
    (root / 'train' / 'n11').mkdir()
    with pytest.raises(ValueError, match=r"missing \[\], not expected \['n11'\]"):
        TinyImageNet(str(root))
