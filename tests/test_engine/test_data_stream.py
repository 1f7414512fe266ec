"""The training data is a numbered stream: the same whoever loads it, and from wherever it
starts."""

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from mmbsa.engine import data_stream
from mmbsa.engine.data_stream import DataStream, SeededDataset, seed_epochs


class Noisy(Dataset):
    """Returns its index with random numbers of all generators, and notes what was loaded."""

    def __init__(self, length, note):
        self.length, self.note = length, note

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        with open(self.note, 'a') as file:
            file.write(f'{index}\n')
        return index, random.random(), np.random.rand(), torch.rand(()).item()


def stream(
    tmp_path,
    workers=0,
    samples=0,
    sampler='InfiniteSampler',
    length=7,
    seed=5,
    name='loads',
    **kwargs,
):
    dataset = Noisy(length, tmp_path / name)
    loader = DataLoader(
        dataset,
        batch_size=3,
        sampler=InfiniteSampler(dataset, seed=seed),
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=list,
    )
    return DataStream(loader, dict(type=sampler), seed, samples, **kwargs)


def take(data, batches):
    return [next(data) for _ in range(batches)]


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'DefaultSampler'])
def test_same_samples_for_any_number_of_workers_and_any_start(tmp_path, sampler):
    whole = take(stream(tmp_path, sampler=sampler), 8)
    numbers = [number for batch in whole for _, *drawn in batch for number in drawn]
    assert len(set(numbers)) == len(numbers) == 3 * 3 * 8, 'no random number comes twice'
    for workers, start in ((2, 0), (0, 3), (2, 5)):
        data = stream(tmp_path, workers, samples=3 * start, sampler=sampler)
        assert take(data, 8 - start) == whole[start:]


def test_every_sample_comes_once_per_pass(tmp_path):
    indices = [index for batch in take(stream(tmp_path), 7) for index, *_ in batch]
    for epoch in range(3):
        assert sorted(indices[7 * epoch : 7 * epoch + 7]) == list(range(7))


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'DefaultSampler'])
def test_every_pass_has_an_order_of_its_own(tmp_path, sampler):
    indices = [
        index for batch in take(stream(tmp_path, sampler=sampler), 28) for index, *_ in batch
    ]
    orders = [tuple(indices[7 * epoch : 7 * epoch + 7]) for epoch in range(12)]
    assert len(set(orders)) == 12


def test_a_pass_is_the_samplers_own_of_that_epoch(tmp_path):
    """As in a loop of epochs: mmengine's sampler, told the epoch."""
    indices = [
        index
        for batch in take(stream(tmp_path, sampler='DefaultSampler'), 7)
        for index, *_ in batch
    ]
    sampler = DefaultSampler(Noisy(7, tmp_path / 'x'), seed=5)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        assert indices[7 * epoch : 7 * epoch + 7] == list(sampler)


@pytest.mark.parametrize('workers', [0, 2])
def test_nothing_before_the_start_is_loaded(tmp_path, workers):
    start, batches = 300, 2
    take(stream(tmp_path, workers, samples=3 * start, name='late'), batches)
    loaded = [int(line) for line in (tmp_path / 'late').read_text().split()]
    prefetched = workers * 2
    assert 3 * batches <= len(loaded) <= 3 * (batches + prefetched)
    order = [
        index
        for batch in take(stream(tmp_path), start + batches + prefetched)
        for index, *_ in batch
    ]
    assert not set(loaded) - set(order[3 * start :]) and (
        workers or loaded == order[3 * start : 3 * (start + batches)]
    )


def test_the_trainings_generators_are_left_alone(tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    take(stream(tmp_path), 2)
    take(stream(tmp_path, workers=1), 1)
    assert torch.equal(torch.rand(3), expected)


def test_processes_share_one_stream(tmp_path, monkeypatch):
    """Two processes with batches of 3 see, together, what one process sees with batches of 6; also
    after a resume."""
    alone = [sample for batch in take(stream(tmp_path), 8) for sample in batch]
    together = []
    for rank in range(2):
        monkeypatch.setattr(data_stream, 'get_dist_info', lambda rank=rank: (rank, 2))
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        first = [sample for batch in take(stream(tmp_path), 4) for sample in batch]
        resumed = [sample for batch in take(stream(tmp_path, samples=12), 2) for sample in batch]
        assert resumed == first[6:]
        together.append(first)
    assert [sample for pair in zip(*together) for sample in pair] == alone


def test_old_loop_skips_without_loading(tmp_path):
    """mmengine 0.10.7 calls next for every batch that was seen."""
    data = stream(tmp_path, samples=3 * 4, skips=4)
    assert take(data, 4) == [None] * 4 and not (tmp_path / 'loads').exists()
    assert take(data, 1) == take(stream(tmp_path), 5)[4:]


def epochs(tmp_path, workers=0, length=7, batch_size=3, seed=5, first=0, count=3, drop_last=False):
    """The batches of some epochs of one loader, whose sampler is told the epoch as mmengine's hook
    does it."""
    dataset = Noisy(length, tmp_path / 'loads')
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=DefaultSampler(dataset, seed=seed),
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=list,
        drop_last=drop_last,
    )
    now = [first]
    seeded_loader = seed_epochs(loader, seed, lambda: now[0])
    out = []
    for now[0] in range(first, first + count):
        seeded_loader.batch_sampler.sampler.set_epoch(now[0])
        out.append(list(seeded_loader))
        assert len(out[-1]) == len(seeded_loader) == len(loader)
    return out


def test_epochs_are_the_same_for_any_number_of_workers_and_any_start(tmp_path):
    whole = epochs(tmp_path)
    numbers = [
        number for epoch in whole for batch in epoch for _, *drawn in batch for number in drawn
    ]
    assert len(set(numbers)) == len(numbers) == 3 * 7 * 3, 'no random number comes twice'
    assert all(
        sorted(index for batch in epoch for index, *_ in batch) == list(range(7)) for epoch in whole
    )
    assert epochs(tmp_path, workers=2) == whole
    assert epochs(tmp_path, workers=1, first=1, count=2) == whole[1:]
    assert epochs(tmp_path, drop_last=True) == [epoch[:2] for epoch in whole]


def test_epochs_are_shared_by_processes(tmp_path, monkeypatch):
    alone = [
        [sample for batch in epoch for sample in batch]
        for epoch in epochs(tmp_path, batch_size=4, length=8)
    ]
    together = []
    for rank in range(2):
        monkeypatch.setattr(data_stream, 'get_dist_info', lambda rank=rank: (rank, 2))
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        together.append(
            [
                [sample for batch in epoch for sample in batch]
                for epoch in epochs(tmp_path, batch_size=2, length=8)
            ]
        )
    assert [
        [sample for pair in zip(*parts) for sample in pair] for parts in zip(*together)
    ] == alone


def test_a_seeded_dataset_says_what_its_dataset_says(tmp_path):
    dataset = Noisy(4, tmp_path / 'loads')
    assert not hasattr(SeededDataset(dataset, 0), 'metainfo')
    dataset.metainfo = dict(classes=('a',))
    assert SeededDataset(dataset, 0).metainfo == dict(classes=('a',))


def test_what_it_takes_and_refuses(tmp_path):
    with pytest.raises(ValueError, match='train_dataloader.dataset is empty'):
        stream(tmp_path, length=0)

    class Own(BatchSampler):
        pass

    dataset = Noisy(4, tmp_path / 'loads')
    assert DataStream.fits(DataLoader(dataset, batch_size=2))
    assert not DataStream.fits(
        DataLoader(dataset, batch_sampler=Own(SequentialSampler(dataset), 2, False))
    )
