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
    """Write CIFAR-10 or -100 as 'py' or 'bin'; return {file: (pixels, labels)} in the order of the files."""
    python = form == 'py'
    folder = root / {(10, True): 'cifar-10-batches-py', (10, False): 'cifar-10-batches-bin',
                     (100, True): 'cifar-100-python', (100, False): 'cifar-100-binary'}[number, python]
    folder.mkdir(parents=True)
    names = [f'data_batch_{i}' for i in range(1, 6)] + ['test_batch'] if number == 10 else ['train', 'test']
    content = {}
    for seed, name in enumerate(names):
        pixels, labels = content[name] = cifar_images(count, number, seed)
        if python:
            batch = {b'data': pixels, b'labels' if number == 10 else b'fine_labels': labels, b'filenames': [b'x'] * count}
            (folder / name).write_bytes(pickle.dumps({k.decode(): v for k, v in batch.items()}, protocol=2))
        else:
            head = np.array(labels, np.uint8)[:, None]
            head = head if number == 10 else np.concatenate([np.full_like(head, 7), head], 1)
            (folder / f'{name}.bin').write_bytes(np.concatenate([head, pixels], 1).tobytes())
    if archive:
        path = root / {(10, True): 'cifar-10-python.tar.gz', (10, False): 'cifar-10-binary.tar.gz',
                       (100, True): 'cifar-100-python.tar.gz', (100, False): 'cifar-100-binary.tar.gz'}[number, python]
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
    """Write the four idx files, unpacked as mmpretrain keeps them; return {split: (images, labels)}."""
    root.mkdir(parents=True, exist_ok=True)
    content = {}
    for seed, split in enumerate(('train', 't10k')):
        rng = np.random.default_rng(seed)
        images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8) % 10
        content['train' if split == 'train' else 'test'] = images, labels
        (root / f'{split}-images-idx3-ubyte').write_bytes(struct.pack('>IIII', 2051, count, 28, 28) + images.tobytes())
        (root / f'{split}-labels-idx1-ubyte').write_bytes(struct.pack('>II', 2049, count) + labels.tobytes())
    return content


def gzip_all(root):
    for path in list(root.glob('*-ubyte')):
        path.with_name(path.name + '.gz').write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
