"""The training samples as one numbered stream that can start at any position.

mmengine 0.10.7 resumes by loading and discarding every used batch; the random augmentations of a
worker depend on its whole history. Here sample number ``p`` of a run is a pure function of
(dataset, sampler, seed, p): a run that starts at ``p`` uses the samples of an uninterrupted run,
with any number of workers, and decodes no earlier sample. ``DataStream`` is the endless stream of
an iteration-based loop, ``seed_epochs`` does the same for an epoch-based loop.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from mmbsa.utils.processes import watch_parent
from mmbsa.utils.random_state import seeded


class SeededDataset(Dataset):
    """A dataset indexed by (position, index); the position seeds the random generators per sample.

    The states of the generators of the process are restored after each sample, so that data loading
    without workers does not change them.

    Args:
        dataset: the dataset.
        seed: seed that is combined with the position.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Return sample ``index`` with the augmentation of position ``position`` of the run."""
        position, index = key
        with seeded(self.seed, position):
            return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def metainfo(self) -> dict:
        """Metainfo of the dataset; checkpoints contain it."""
        return self.dataset.metainfo


class PositionedBatches(Sampler):
    """Endless batches of (position, index) for this process, from its ``start``-th sample on.

    Args:
        sampler: a sampler of mmengine, which selects the indices of this process; a finite one is
            repeated, with ``set_epoch``.
        batch_size: samples per batch and process.
        start: number of samples that this process has already used; 0 by default.
    """

    def __init__(self, sampler: Sampler, batch_size: int, start: int = 0) -> None:
        self.sampler, self.batch_size, self.start = sampler, batch_size, start

    def _indices(self) -> Iterator[int]:
        epoch = 0
        while True:
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            yield from self.sampler
            epoch += 1

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield batches; positions count over all processes, so each sample has its own."""
        rank, world_size = get_dist_info()
        numbered = enumerate(self._indices())
        numbered = (
            (position * world_size + rank, index)
            for position, index in islice(numbered, self.start, None)
        )
        while True:
            yield list(islice(numbered, self.batch_size))


class EpochBatches(Sampler):
    """The batches of a loader, epoch by epoch, as (position, index).

    Positions count over all processes.

    Args:
        batches: the batch sampler of the loader.
        epoch: function that returns the number of the epoch that starts.
    """

    def __init__(self, batches: BatchSampler, epoch: Callable[[], int]) -> None:
        self.batches, self.epoch = batches, epoch

    @property
    def sampler(self) -> Sampler:
        """The sampler of indices; mmengine's hook sets its epoch."""
        return self.batches.sampler

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the batches of an epoch."""
        rank, world_size = get_dist_info()
        position = (self.epoch() << 40) + rank  # an epoch has fewer than 2^40 samples
        for batch in self.batches:
            yield [(position + place * world_size, index) for place, index in enumerate(batch)]
            position += len(batch) * world_size


def seed_epochs(loader: DataLoader, seed: int, epoch: Callable[[], int]) -> DataLoader:
    """Return a loader with the same batches and reproducible augmentations.

    The augmentation of a sample depends only on the seed, the epoch and the position of the sample
    in the epoch, so a resumed run gives the same samples.

    Args:
        loader: A loader for which ``DataStream.fits`` is true; its sampler is used as before.
        seed: Seed of the augmentations.
        epoch: Called whenever an iteration of the loader starts; returns the number of the epoch.
    """
    return _like(loader, seed, EpochBatches(loader.batch_sampler, epoch))


def _like(loader: DataLoader, seed: int, batches: Sampler) -> DataLoader:
    copy = DataLoader(
        SeededDataset(loader.dataset, seed),
        batch_sampler=batches,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
        generator=torch.Generator(),
    )  # an iterator draws a random number, which must not change the training's generator
    watch_parent(copy)
    return copy


class DataStream:
    """Batches of an iteration-based training loop; it replaces mmengine's iterator.

    Args:
        loader: the data loader of the training loop; its dataset and all its options are kept.
        sampler_cfg: config of its sampler, which is built again, because mmengine's has already
            yielded indices.
        seed: seed of the sampler and the augmentations; None draws one seed for all processes.
        samples: number of samples that the run has used, over all processes; 0 by default.
        skips: number of calls of ``next`` that skip used batches and return None; 0 by default.
    """

    def __init__(
        self,
        loader: DataLoader,
        sampler_cfg: dict,
        seed: int | None,
        samples: int = 0,
        skips: int = 0,
    ) -> None:
        if len(loader.dataset) == 0:
            raise ValueError('train_dataloader.dataset is empty')
        sampler = DATA_SAMPLERS.build(
            sampler_cfg, default_args=dict(dataset=loader.dataset, seed=seed)
        )
        self.seed = getattr(sampler, 'seed', seed)
        self.batch_size, self.skips = loader.batch_size, skips
        _, self.world_size = get_dist_info()
        batches = PositionedBatches(sampler, loader.batch_size, start=samples // self.world_size)
        self._loader = _like(loader, self.seed, batches)
        self._iterator = None

    @staticmethod
    def fits(loader: DataLoader) -> bool:
        """Return whether batches are consecutive sampler indices, which a stream can continue."""
        return type(loader.batch_sampler) is BatchSampler

    @property
    def samples_per_iter(self) -> int:
        """Samples per iteration, over all processes."""
        return self.batch_size * self.world_size

    def skip_iter(self, num_iters: int) -> None:
        """Do nothing, because the stream starts at the right position.

        mmengine 0.10.12 calls this on resume.
        """

    def __iter__(self) -> 'DataStream':
        return self

    def __next__(self) -> Any:
        """Return the next batch (or None while mmengine 0.10.7 skips used batches)."""
        if self.skips:
            self.skips -= 1
            return None
        if self._iterator is None:
            self._iterator = iter(self._loader)
        return next(self._iterator)
