"""Conversion of official checkpoints to models of mmbsa, with one recipe per source.

A recipe is data: the config of the model, the renaming of keys, and the official tensors that are
not used. Renaming is a pure function; the result is loaded strictly.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from mmbsa.registry import MODELS

Rules = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Recipe:
    """Mapping of one official implementation to a model of mmbsa.

    Args:
        config: function from (state dict, constructor arguments) to the config of the model; it
            derives sizes from tensor shapes.
        rules: (regular expression, replacement) pairs applied in order to every official key.
        unused: expressions of official tensors that the official forward never uses; they are
            dropped and reported.
    """

    config: Callable[[Mapping[str, Tensor], dict], dict]
    rules: Rules
    unused: Sequence[str] = ()


@dataclass
class Report:
    """Result of a conversion: config, new key -> official key, and unused official tensors."""

    source: str
    config: dict
    keys: dict[str, str]
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f'{self.source}: {len(self.keys)} tensors converted']
        if self.unused:
            lines.append(
                f'{len(self.unused)} official tensors are unused: {", ".join(self.unused)}'
            )
        return '\n'.join(lines)


RECIPES: dict[str, Recipe] = {}


def register(source: str, recipe: Recipe) -> None:
    """Add a recipe under the name of its source."""
    RECIPES[source] = recipe


def get_recipe(source: str) -> Recipe:
    """Return the recipe of a source.

    Raises:
        KeyError: the source is unknown; the message lists the sources.
    """
    if source not in RECIPES:
        raise KeyError(f'unknown source {source!r}; there are {", ".join(sorted(RECIPES))}')
    return RECIPES[source]


def rename(state_dict: Mapping[str, Tensor], recipe: Recipe) -> tuple[dict[str, str], list[str]]:
    """Rename official keys -> ({new key: official key}, [unused official keys]).

    Args:
        state_dict: official name -> tensor.
        recipe: recipe of the source.

    Raises:
        ValueError: two official keys get the same name.
    """
    keys, unused = {}, []
    # compiled once: some recipes have more rules than Python's cache of expressions
    ignored = [re.compile(pattern) for pattern in recipe.unused]
    rules = [(re.compile(pattern), replacement) for pattern, replacement in recipe.rules]
    for official in state_dict:
        if any(pattern.search(official) for pattern in ignored):
            unused.append(official)
            continue
        key = official
        for pattern, replacement in rules:
            key = pattern.sub(replacement, key)
        if key in keys:
            raise ValueError(f'{official!r} and {keys[key]!r} both become {key!r}')
        keys[key] = official
    return keys, unused


def build_from_official(
    source: str, state_dict: Mapping[str, Tensor], **constructor_args
) -> nn.Module:
    """Build a model of mmbsa with the weights of an official state dict.

    Args:
        source: name of the official implementation, for example ``'sdt_v3_cls'``.
        state_dict: official name -> tensor; not modified.
        constructor_args: arguments of the official constructor. Sizes that follow from tensor
            shapes may be omitted. The number of heads does not follow; by default it is the
            published one.

    Returns:
        The model in training mode, with a :class:`Report` as ``model.conversion_report``.

    Raises:
        KeyError: the source is unknown, or tensors are missing or superfluous; the message names
            all of them.
        ValueError: the size of a tensor does not fit.
    """
    recipe = get_recipe(source)
    cfg = recipe.config(state_dict, constructor_args)
    model = MODELS.build(cfg)
    keys, unused = rename(state_dict, recipe)
    ours = model.state_dict()
    missing, left_over = (
        sorted(set(ours) - set(keys)),
        sorted(keys[k] for k in set(keys) - set(ours)),
    )
    if missing or left_over:
        raise KeyError(
            f'{source}: the state dict does not fit. Missing for the model: {missing}. '
            f'Unexpected official tensors: {left_over}'
        )
    converted = {}
    for key, official in keys.items():
        tensor = state_dict[official]
        if tensor.numel() != ours[key].numel():
            raise ValueError(
                f'{source}: {official} has shape {tuple(tensor.shape)}, {key} needs '
                f'{tuple(ours[key].shape)}. Are the constructor arguments right?'
            )
        converted[key] = tensor.reshape(
            ours[key].shape
        )  # a linear layer, a 1x1 Conv1d and a 1x1 Conv2d have the same weights
    model.load_state_dict(converted)
    model.conversion_report = Report(source, cfg, keys, unused)
    return model
