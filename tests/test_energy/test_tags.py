"""Tags live as long as their storage, and weights stay weights."""

import torch
from torch import nn

from mmbsa.energy import count_operations
from mmbsa.energy.tags import Tag, TagStore
from mmbsa.spiking import BINARY


def test_tags_of_dead_tensors_are_dropped():
    store, alive = TagStore(), torch.ones(3)
    store.put(alive, Tag(BINARY, 'alive'))
    for _ in range(5000):
        store.put(torch.empty(1), Tag())
    assert len(store._tags) < 1000
    assert store.get(alive[1:]).origin == 'alive'


def test_a_weight_that_was_written_to_is_a_weight_in_the_next_forward():
    store, weight = TagStore(), nn.Parameter(torch.ones(3))
    store.put_weights([weight])
    store.put(weight, Tag(BINARY, 'written'))
    assert store.get(weight).origin == 'written'
    store.put_weights([weight])
    assert store.get(weight).weight


def test_a_weight_that_was_replaced_is_one_too():
    layer, x = nn.Linear(3, 2), torch.ones(1, 3)
    before = count_operations(layer, x).total
    layer.weight.data = torch.zeros(2, 3)
    assert count_operations(layer, x).total == before and before.mac == 6
