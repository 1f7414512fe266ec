"""Tiny data sets in their distributed formats, made from seeded numbers."""

import gzip
import pickle
import struct
import tarfile

import cv2
import numpy as np


def cifar_images(count, classes, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3072), np.uint8), rng.integers(0, classes, count).tolist()


def write_cifar(root, number, form, count=4, archive=False):
    """Write CIFAR-10 or -100 as 'py' or 'bin'; return {file: (pixels, labels)} in the order of the
    files."""
    python = form == 'py'
    folder = (
        root
        / {
            (10, True): 'cifar-10-batches-py',
            (10, False): 'cifar-10-batches-bin',
            (100, True): 'cifar-100-python',
            (100, False): 'cifar-100-binary',
        }[number, python]
    )
    folder.mkdir(parents=True)
    names = (
        [f'data_batch_{i}' for i in range(1, 6)] + ['test_batch']
        if number == 10
        else ['train', 'test']
    )
    content = {}
    for seed, name in enumerate(names):
        pixels, labels = content[name] = cifar_images(count, number, seed)
        if python:
            batch = {
                b'data': pixels,
                b'labels' if number == 10 else b'fine_labels': labels,
                b'filenames': [b'x'] * count,
            }
            (folder / name).write_bytes(
                pickle.dumps({k.decode(): v for k, v in batch.items()}, protocol=2)
            )
        else:
            head = np.array(labels, np.uint8)[:, None]
            head = head if number == 10 else np.concatenate([np.full_like(head, 7), head], 1)
            (folder / f'{name}.bin').write_bytes(np.concatenate([head, pixels], 1).tobytes())
    if archive:
        path = (
            root
            / {
                (10, True): 'cifar-10-python.tar.gz',
                (10, False): 'cifar-10-binary.tar.gz',
                (100, True): 'cifar-100-python.tar.gz',
                (100, False): 'cifar-100-binary.tar.gz',
            }[number, python]
        )
        with tarfile.open(path, 'w:gz') as tar:
            tar.add(folder, folder.name)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    return content


def write_photo(path, size=32, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    assert cv2.imwrite(str(path), image)
    return image


def write_class_folders(root, classes, split, count=2, size=32, suffix='.png'):
    for c, name in enumerate(classes):
        for i in range(count):
            write_photo(root / split / name / f'{i}{suffix}', size, seed=c * count + i)


def write_mnist(root, count=5):
    """Write the four idx files, unpacked as mmpretrain keeps them; return {split: (images,
    labels)}."""
    root.mkdir(parents=True, exist_ok=True)
    content = {}
    for seed, split in enumerate(('train', 't10k')):
        rng = np.random.default_rng(seed)
        images, labels = (
            rng.integers(0, 256, (count, 28, 28), np.uint8),
            np.arange(count, dtype=np.uint8) % 10,
        )
        content['train' if split == 'train' else 'test'] = images, labels
        (root / f'{split}-images-idx3-ubyte').write_bytes(
            struct.pack('>IIII', 2051, count, 28, 28) + images.tobytes()
        )
        (root / f'{split}-labels-idx1-ubyte').write_bytes(
            struct.pack('>II', 2049, count) + labels.tobytes()
        )
    return content


def gzip_all(root):
    for path in list(root.glob('*-ubyte')):
        path.with_name(path.name + '.gz').write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def random_events(count, size, seed=0):
    """Return columns x, y, t, p of events on a sensor of (height, width)."""
    rng = np.random.default_rng(seed)
    return dict(
        x=rng.integers(0, size[1], count),
        y=rng.integers(0, size[0], count),
        t=np.sort(rng.integers(0, 90_000, count)),
        p=rng.integers(0, 2, count),
    )


def write_npz(path, size, count=60, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **random_events(count, size, seed))


def write_atis_bin(path, columns):
    """Write 40-bit events: x, y, then the polarity and 23 bits of time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    c = {name: np.asarray(column, np.int64) for name, column in columns.items()}
    rows = np.stack(
        [c['x'], c['y'], c['p'] << 7 | c['t'] >> 16, c['t'] >> 8 & 255, c['t'] & 255], 1
    )
    path.write_bytes(rows.astype(np.uint8).tobytes())


def write_cifar10_dvs(path, columns):
    """Write AEDAT 2 as CIFAR10-DVS has it: rows and columns exchanged and counted from the far end,
    off is 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    c = {name: np.asarray(column, np.uint32) for name, column in columns.items()}
    address = (127 - c['y']) << 1 | (127 - c['x']) << 8 | (1 - c['p'])
    words = np.stack([address, c['t']], 1).astype('>u4')
    path.write_bytes(b'#!AER-DAT2.0\r\n# made for a test\r\n' + words.tobytes())


def write_event_folders(root, classes, splits, size, per_class=2, write=write_npz):
    """Write [split/]class/*.npz with unlike numbers of events."""
    seed = 0
    for split in splits:
        for name in classes:
            for index in range(per_class):
                write(root / split / name / f'{name}_{index}.npz', size, 40 + seed % 7, seed)
                seed += 1
