"""Tags: the information that the counter stores for each tensor storage."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from mmbsa.spiking import BINARY, SpikeDomain


@dataclass(slots=True)
class Tag:
    """The content of a tensor storage.

    Attributes:
        domain: spike domain; None if the storage holds no spikes.
        origin: description of the source, which the audit prints.
        weight: whether it is a parameter, a buffer, or computed from these alone.
        exact: whether it holds exact sums of spikes (scores), whose zeros mean that no event
            occurred.
        bits: bits of an activation that is processed bit by bit; None otherwise.
        steps: number of time steps T in the tensor; 0 if unknown.
        copies: number of equal steps that one copy of ``copy_numel`` elements represents; 1 if the
            steps differ.
        copy_numel: number of elements of one copy.
        bounds: closed interval of a clamped tensor, which becomes counts by rounding; None
            otherwise.
        cache: sums that were computed for this storage.
    """

    domain: SpikeDomain | None = None
    origin: str = 'an op'
    weight: bool = False
    exact: bool = False
    bits: int | None = None
    steps: int = 0
    copies: int = 1
    copy_numel: int = 0
    bounds: tuple[float, float] | None = None
    cache: dict = field(default_factory=dict, repr=False)

    @property
    def sparse(self) -> bool:
        """Whether a zero costs nothing: True for spikes, sums of spikes, and bits."""
        return self.domain is not None or self.exact

    @property
    def kind(self) -> str:
        """Kind of the content.

        It is ``binary``, ``ternary``, ``integer``, ``bits``, ``sum of spikes``, ``weight`` or
        ``real``.
        """
        if self.bits is not None:
            return 'bits'
        if self.domain is not None:
            if self.domain.levels <= 1:
                return 'ternary' if self.domain.signed else 'binary'
            return 'integer'
        if self.exact:
            return 'sum of spikes'
        return 'weight' if self.weight else 'real'

    @property
    def label(self) -> tuple[str, str, str]:
        """Return kind, domain and origin, as rows print them."""
        if 'label' not in self.cache:
            self.cache['label'] = (
                self.kind,
                '' if self.domain is None else str(self.domain),
                self.origin,
            )
        return self.cache['label']

    def but(self, **changes) -> 'Tag':
        """Return a copy with other values and an empty cache."""
        return replace(self, cache={}, **changes)


#: number of tags after which dead tags are removed for the first time.
_PRUNE = 256

#: origin of tensors without any information.
OUTSIDE = 'a tensor made outside'


class TagStore:
    """Store one :class:`Tag` per tensor storage.

    A tag belongs to the storage, so a tensor and all its views have the same tag. The store has
    only weak references to storages: it does not keep tensors in memory, and the address of a
    freed storage is not used again while the weak reference exists.
    """

    def __init__(self) -> None:
        self._tags: dict[int, tuple[StorageWeakRef, Tag]] = {}
        #: tags of weights, which are kept.
        self._weights: dict[int, tuple[StorageWeakRef, Tag]] = {}
        self._limit = _PRUNE

    def get(self, x: Tensor) -> Tag:
        """Return the tag of x.

        Without a tag, x counts as real values made outside; the dtype bool counts as 0 and 1.
        """
        try:
            key = x.untyped_storage()._cdata
        except NotImplementedError:
            key = None
        entry = self._tags.get(key) or self._weights.get(key)
        if entry is not None:
            return entry[1]
        tag = Tag(BINARY, 'a comparison') if x.dtype is torch.bool else Tag(origin=OUTSIDE)
        self.put(x, tag)
        return tag

    def put(self, x: Tensor, tag: Tag) -> None:
        """Tag the whole storage of x."""
        if x.layout is not torch.strided:
            return
        storage = x.untyped_storage()
        self._tags[storage._cdata] = (StorageWeakRef(storage), tag)
        if len(self._tags) > self._limit:
            # removed soon: with a growing heap, Python's cycle collector takes longer
            self._tags = {key: entry for key, entry in self._tags.items() if not entry[0].expired()}
            self._limit = _PRUNE + 2 * len(self._tags)

    def put_weights(self, tensors: Iterable[Tensor]) -> None:
        """Tag parameters and buffers, also if their values changed since."""
        for x in tensors:
            if x.layout is not torch.strided:
                continue
            storage = x.untyped_storage()
            key = storage._cdata
            self._tags.pop(key, None)
            if key not in self._weights:
                tag = Tag(origin='a parameter', weight=True)
                self._weights[key] = (StorageWeakRef(storage), tag)

    def drop(self, x: Tensor) -> None:
        """Remove the tag of x."""
        self._tags.pop(_key(x), None)


def _key(x: Tensor) -> int:
    return x.untyped_storage()._cdata if x.layout is torch.strided else -1


def union(domains: list[SpikeDomain | None]) -> SpikeDomain | None:
    """Return the smallest domain that contains all; None if one is real or units differ."""
    known = [domain for domain in domains if domain is not None]
    if not domains or len(known) < len(domains):
        return None
    fired = [domain for domain in known if domain.levels] or known[:1]
    if len({domain.unit for domain in fired}) > 1:
        return None
    return SpikeDomain(min(d.low for d in fired), max(d.high for d in fired), fired[0].unit)


def add(a: SpikeDomain | None, b: SpikeDomain | None) -> SpikeDomain | None:
    """Return the domain of a sum of spikes: levels add; None if one is real or units differ."""
    if a is None or b is None:
        return None
    if not a.levels or not b.levels:
        return a if a.levels else b
    return SpikeDomain(a.low + b.low, a.high + b.high, a.unit) if a.unit == b.unit else None


def scale(domain: SpikeDomain | None, factor: float) -> SpikeDomain | None:
    """Return the domain of spikes times a number.

    The number scales the unit; a negative number swaps the signs.

    Args:
        domain: spike domain; None for real values.
        factor: the number.
    """
    if domain is None or not abs(factor) < float('inf'):
        return None
    if factor == 0:
        return SpikeDomain(0, 0)
    low, high = (domain.low, domain.high) if factor > 0 else (-domain.high, -domain.low)
    return SpikeDomain(low, high, domain.unit * abs(factor))


def clip(domain: SpikeDomain | None, low: float | None, high: float | None) -> SpikeDomain | None:
    """Return the domain of clamped spikes; None if a bound is not a level, or 0 is outside.

    Args:
        domain: spike domain; None for real values.
        low, high: bounds; None for no bound.
    """
    if domain is None:
        return None
    ends: list[int] = []
    for bound, end in ((low, domain.low), (high, domain.high)):
        if bound is None:
            ends.append(end)
            continue
        level = bound / domain.unit
        if level != round(level):
            return None
        ends.append(max(end, round(level)) if end is domain.low else min(end, round(level)))
    least, most = ends
    return SpikeDomain(least, most, domain.unit) if least <= 0 <= most else None
