"""The training samples as one numbered stream that can start anywhere.

mmengine 0.10.7 resumes by loading and dropping every batch that was seen; the random augmentations
of a worker depend on all it did before. Here sample number ``p`` of a run is a pure function of
(dataset, sampler, seed, p): a run that starts at ``p`` sees what an uninterrupted one would,
whatever the number of workers, and decodes nothing before it. ``DataStream`` is the endless stream
of an iteration-based loop, ``seed_epochs`` does the same for a loop of epochs.
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
    """A dataset indexed by (position, index); the random generators are seeded from the position
    for each sample.

    The states of the process's own generators are put back, so that without workers the data does
    not disturb them.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Return sample ``index``, augmented as the ``position``-th of the run."""
        position, index = key
        with seeded(self.seed, position):
            return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def metainfo(self) -> dict:
        """What the dataset says about itself; checkpoints keep it."""
        return self.dataset.metainfo


class PositionedBatches(Sampler):
    """Endless batches of (position, index) for this process, from its ``start``-th sample on.

    Args:
        sampler: A sampler of mmengine; a finite one is repeated, with ``set_epoch``. It deals
            indices to this process.
        batch_size: Samples per batch and process.
        start: Samples of this process that were seen before.
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
        """Yield batches; positions count over all processes, so that each sample of a run has its
        own."""
        rank, world_size = get_dist_info()
        numbered = enumerate(self._indices())
        numbered = (
            (position * world_size + rank, index)
            for position, index in islice(numbered, self.start, None)
        )
        while True:
            yield list(islice(numbered, self.batch_size))


class EpochBatches(Sampler):
    """The batches of a loader, epoch by epoch, as (position, index); positions count over all
    processes.

    Args:
        batches: The batch sampler of the loader.
        epoch: Returns the epoch that starts.
    """

    def __init__(self, batches: BatchSampler, epoch: Callable[[], int]) -> None:
        self.batches, self.epoch = batches, epoch

    @property
    def sampler(self) -> Sampler:
        """The sampler of indices, which mmengine's hook tells the epoch."""
        return self.batches.sampler

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the batches of an epoch."""
        rank, world_size = get_dist_info()
        position = (self.epoch() << 40) + rank  # no epoch has as many samples
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
    )  # an iterator draws a number, which must not come from the training's
    watch_parent(copy)
    return copy


class DataStream:
    """What an iteration-based training loop draws its batches from, in place of mmengine's own
    iterator.

    Args:
        loader: The data loader of the training loop; its dataset and all its options are kept.
        sampler_cfg: Config of its sampler, which is built anew: mmengine's has already dealt out
            indices.
        seed: Seed of the sampler and the augmentations; None lets the sampler draw one for all
            processes.
        samples: Samples the run has seen so far, over all processes.
        skips: How often ``next`` is called to skip what was seen; answered with None.
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
        """Return whether batches are plain runs of the sampler's indices, which is what a stream
        can continue."""
        return type(loader.batch_sampler) is BatchSampler

    @property
    def samples_per_iter(self) -> int:
        """Samples per iteration, over all processes."""
        return self.batch_size * self.world_size

    def skip_iter(self, num_iters: int) -> None:
        """Do nothing: the stream starts where it should. mmengine 0.10.12 calls this on resume."""

    def __iter__(self) -> 'DataStream':
        return self

    def __next__(self) -> Any:
        """Return the next batch (or None while mmengine 0.10.7 skips what was seen)."""
        if self.skips:
            self.skips -= 1
            return None
        if self._iterator is None:
            self._iterator = iter(self._loader)
        return next(self._iterator)
