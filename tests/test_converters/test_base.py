"""Renaming official keys: nothing is dropped or overwritten in silence."""

import pytest
import torch
from torch import nn

from mmbsa.converters import base
from mmbsa.converters.base import Recipe, build_from_official, get_recipe, rename
from mmbsa.registry import MODELS


@MODELS.register_module(force=True)
class TwoLayers(nn.Module):
    """A model with two weights."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False)


@pytest.fixture
def source(monkeypatch):
    """The name of a recipe for TwoLayers."""
    recipe = Recipe(
        lambda state, args: dict(type='mmbsa.TwoLayers'),
        [(r'^(a|b)\.', 'first.'), (r'^c\.', 'second.')],
        unused=(r'^rest\.',),
    )
    monkeypatch.setitem(base.RECIPES, 'two', recipe)
    return 'two'


STATE = {'a.weight': torch.ones(3, 2), 'c.weight': torch.ones(2, 3, 1, 1), 'rest.x': torch.ones(1)}


def test_rename_refuses_two_keys_that_become_one(source):
    keys, unused = rename(STATE, get_recipe(source))
    assert keys == {'first.weight': 'a.weight', 'second.weight': 'c.weight'} and unused == [
        'rest.x'
    ]
    with pytest.raises(ValueError, match="'b.weight' and 'a.weight' both become 'first.weight'"):
        rename({**STATE, 'b.weight': torch.zeros(3, 2)}, get_recipe(source))


def test_build_from_official_takes_every_tensor_or_names_it(source):
    model = build_from_official(source, STATE)
    assert model.first.weight.sum() == 6 and model.second.weight.shape == (2, 3)
    assert model.conversion_report.unused == ['rest.x']
    with pytest.raises(KeyError, match=r"Missing for the model: \['first.weight'\]"):
        build_from_official(source, {'c.weight': STATE['c.weight']})
    with pytest.raises(KeyError, match=r"Unexpected official tensors: \['d.weight'\]"):
        build_from_official(source, {**STATE, 'd.weight': torch.ones(1)})
    with pytest.raises(ValueError, match='b.weight'):
        build_from_official(source, {**STATE, 'b.weight': torch.ones(3, 2)})


def test_build_from_official_names_a_tensor_of_another_size(source):
    with pytest.raises(
        ValueError, match=r'two: c.weight has shape \(2, 2\), second.weight needs \(2, 3\)'
    ):
        build_from_official(source, {**STATE, 'c.weight': torch.ones(2, 2)})


def test_get_recipe_lists_the_sources(source):
    with pytest.raises(KeyError, match="unknown source 'no'; there are .*two"):
        get_recipe('no')
