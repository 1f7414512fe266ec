"""Grid of an ablation: axes, seeds and a base config from a YAML file, and their cells."""

import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import yaml
from mmengine.config import Config

from mmbsa.apis.ablation.overrides import GridError, apply_overrides

#: keys of a grid file, at its top level and under ``budgets.<name>``.
KEYS = (
    'title',
    'base',
    'metric',
    'seeds',
    'overrides',
    'axes',
    'exclude',
    'reference',
    'rates',
    'published',
    'about',
)
#: key of an axis value that replaces the base config instead of overriding its entries.
BASE = 'base'
#: config entries that affect the place and the process of a run, but not its result.
PLACE = ('work_dir', 'launcher', 'resume', 'experiment_name')


@dataclass(frozen=True)
class Cell:
    """One training of a grid.

    Attributes:
        values: axis -> name of its value.
        seed: value of ``randomness.seed``.
        config: the resolved config.
        key: hash of that config; two cells with the same key are the same training.
    """

    values: dict[str, str]
    seed: int
    config: Config = field(repr=False)
    key: str

    @property
    def label(self) -> str:
        """Values of the axes without the seed, for tables and legends."""
        return ' '.join(self.values.values())

    @property
    def name(self) -> str:
        """Readable and unique name of the cell's folder."""
        text = '_'.join([*self.values.values(), f'seed{self.seed}', self.key])
        return ''.join(letter if letter.isalnum() or letter in '-_.' else '-' for letter in text)

    @property
    def last_step(self) -> int:
        """Iteration, or epoch, at which the training ends."""
        train = self.config.train_cfg
        return train.get('max_iters') or train.get('max_epochs')


@dataclass
class Grid:
    """A base config, axes of named overrides, and seeds.

    Attributes:
        name: name of the folder of its runs.
        title, about: title and description for the report.
        base: path of the base config.
        metric: name of the metric in the evaluator's output, higher is better; None uses the
            ``save_best`` of the config's checkpoint hook.
        seeds: seeds, with one training each.
        overrides: dotted key -> value for all cells; see :func:`apply_overrides`.
        axes: axis -> name of a value -> overrides.
        exclude: excluded combinations: axis -> name, or names.
        reference: axis -> name of a value. The table compares each combination with the one that
            has these values instead of its own; without any, nothing is compared.
        rates: label -> part of the names of layers, whose mean firing rate the table shows.
        published: ``source`` and ``values``, a list of published results with the names of the axis
            values and ``value``.
        file: the file of the grid, for messages.
    """

    name: str
    base: Path
    axes: dict[str, dict[str, dict]]
    seeds: list[int]
    metric: str | None = None
    title: str = ''
    about: str = ''
    overrides: list[dict] = field(default_factory=list)
    exclude: list[dict] = field(default_factory=list)
    reference: dict = field(default_factory=dict)
    rates: dict = field(default_factory=dict)
    published: dict = field(default_factory=dict)
    file: str = 'grid'

    def combinations(self) -> list[dict[str, str]]:
        """Return every combination axis -> value that is not excluded, the last axis fastest."""
        names = list(self.axes)
        found = [dict(zip(names, values)) for values in product(*self.axes.values())]
        return [
            values for values in found if not any(_matches(values, rule) for rule in self.exclude)
        ]

    def reference_values(self, values: dict[str, str]) -> dict[str, str] | None:
        """Return the combination with which another one is compared; None for a reference itself,
        and without :attr:`reference`.

        Args:
            values: axis -> name of its value.
        """
        found = values | {axis: str(name) for axis, name in self.reference.items()}
        return None if found == values else found

    def published_value(self, values: dict[str, str]) -> float | None:
        """Return the published result of a combination; None if there is none.

        Args:
            values: axis -> name of its value.
        """
        for entry in self.published.get('values', ()):
            if {axis: str(name) for axis, name in entry.items() if axis != 'value'} == values:
                return entry['value']
        return None


def read_grid(path: str | Path, budget: str = 'full') -> Grid:
    """Read a grid file.

    Its top level applies to all budgets. A key under ``budgets.<name>`` replaces the same key at
    the top level, with two exceptions: ``axes`` replaces only the axes that it names, and removes
    those that are null; ``overrides`` are added after those of the top level. The budget ``full``
    needs no entry. ``base`` is relative to the file.

    Args:
        path: the YAML file.
        budget: name of the budget, ``'full'`` by default.

    Raises:
        GridError: the file is missing, has unknown keys, lacks required keys, or has no such
            budget.
    """
    path = Path(path)
    if not path.is_file():
        raise GridError(f'{path}: the grid file does not exist')
    with open(path, encoding='utf-8') as file:
        try:
            data = yaml.load(file, _UniqueKeys)
        except yaml.YAMLError as error:
            raise GridError(f'{path} is not valid YAML: {error}') from error
    if not isinstance(data, dict):
        raise GridError(f'{path}: expected a mapping with the keys {", ".join(KEYS)}, budgets')
    budgets = data.pop('budgets', None) or {}
    if budget not in ('full', *budgets):
        raise GridError(
            f'{path}: there is no budget {budget!r}; there are '
            f'{", ".join(dict.fromkeys(["full", *budgets]))}'
        )
    merged: dict = dict(overrides=[], axes={})
    for prefix, layer in (('', data), (f'budgets.{budget}.', budgets.get(budget) or {})):
        unknown = set(layer) - set(KEYS)
        if unknown:
            raise GridError(
                f'{path}: {prefix}{sorted(map(str, unknown))[0]} is not a key of a grid; expected '
                f'{", ".join(KEYS)}, budgets'
            )
        axes = layer.get('axes') or {}
        if not isinstance(axes, dict):
            raise GridError(
                f'{path}: {prefix}axes is {axes!r}: expected axis -> name of a value -> overrides'
            )
        axes = {
            axis: values
            for axis, values in {**merged['axes'], **axes}.items()
            if values is not None
        }
        overrides = [*merged['overrides'], layer.get('overrides') or {}]
        merged.update(layer, axes=axes, overrides=overrides)
    missing = [key for key in ('base', 'axes') if not merged.get(key)]
    if missing:
        raise GridError(f'{path}: {missing[0]} is missing')
    grid = Grid(
        name=f'{path.stem}-{budget}',
        file=str(path),
        **{**merged, 'base': path.parent / merged['base'], 'seeds': merged.get('seeds', [0])},
    )
    _check(grid)
    return grid


def grid_of_configs(paths: list[str | Path], seeds: list[int], metric: str | None = None) -> Grid:
    """Return a grid whose only axis is the config file; the values have the names of the files.

    Args:
        paths: config files.
        seeds: seeds, with one training each.
        metric: name of the metric; None (default) uses the ``save_best`` of the config.

    Raises:
        GridError: a file is missing, or two files have the same name.
    """
    paths = [Path(path) for path in paths]
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        raise GridError(
            f'the configs must have different file names, got {", ".join(map(str, paths))}'
        )
    axes = dict(config={name: {BASE: str(path.resolve())} for name, path in zip(names, paths)})
    grid = Grid(
        name='-'.join(names),
        base=paths[0],
        axes=axes,
        seeds=seeds,
        metric=metric,
        file='configs',
        title=' and '.join(names),
    )
    _check(grid)
    return grid


def expand(grid: Grid, options: dict | None = None) -> list[Cell]:
    """Resolve the config of every cell, seed by seed; all cells of the first seed come first.

    Args:
        grid: the grid.
        options: overrides of every cell from the command line; an unknown key raises too. None by
            default.

    Raises:
        GridError: an override has an unknown key (see :func:`apply_overrides`), or two cells are
            the same training, which means that an axis has no effect.
    """
    bases: dict[Path, Config] = {}
    prepared = []
    for values in grid.combinations():
        picked = {axis: grid.axes[axis][name] for axis, name in values.items()}
        own = [Path(grid.file).parent / over[BASE] for over in picked.values() if BASE in over]
        path = own[0] if own else grid.base
        if path not in bases:
            bases[path] = _base(path, grid, options or {})
        cfg = bases[path]
        for axis, over in picked.items():
            over = {key: value for key, value in over.items() if key != BASE}
            cfg = apply_overrides(cfg, over, f'{grid.file}: axes.{axis}.{values[axis]}')
        prepared.append((values, cfg))
    cells, seen = [], {}
    for seed in grid.seeds:
        for values, cfg in prepared:
            cfg = deepcopy(cfg)
            cfg.merge_from_dict({'randomness.seed': seed})
            key = config_key(cfg)
            if key in seen:
                raise GridError(
                    f'{grid.file}: {values} and {seen[key]} resolve to the same config: between '
                    'them an axis '
                    'has no effect'
                )
            seen[key] = values
            cells.append(Cell(values, seed, cfg, key))
    return cells


def config_key(cfg: Config) -> str:
    """Return a hash of the entries of a config that determine its result: 12 hexadecimal digits.

    It does not depend on the order of the keys and on the folder of the run.
    """
    content = {key: value for key, value in cfg.to_dict().items() if key not in PLACE}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=repr).encode()).hexdigest()[
        :12
    ]


def select(cells: list[Cell], only: list[str], axes: dict[str, dict]) -> list[Cell]:
    """Return the cells that match every rule ``axis=value[,value]``; the seed is an axis too.

    Args:
        cells: cells of the grid.
        only: the rules.
        axes: axes of the grid.

    Raises:
        GridError: the grid has no such axis or value.
    """
    for rule in only:
        axis, mark, names = rule.partition('=')
        known = (
            {*map(str, sorted({cell.seed for cell in cells}))}
            if axis == 'seed'
            else set(axes.get(axis, ()))
        )
        if not mark or (axis != 'seed' and axis not in axes):
            raise GridError(
                f'--only {rule}: write axis=value; the axes are {", ".join([*axes, "seed"])}'
            )
        wanted = set(names.split(','))
        if wanted - known:
            raise GridError(
                f'--only {rule}: {axis} has no {", ".join(sorted(wanted - known))}; it has '
                f'{", ".join(sorted(known))}'
            )
        cells = [
            cell
            for cell in cells
            if (str(cell.seed) if axis == 'seed' else cell.values[axis]) in wanted
        ]
    return cells


def metric_of(grid: Grid, cells: list[Cell]) -> str:
    """Return the metric of the grid, or the ``save_best`` of the configs.

    Args:
        grid: the grid.
        cells: its cells.

    Raises:
        GridError: neither is set.
    """
    if grid.metric:
        return grid.metric
    found = cells[0].config.get('default_hooks', {}).get('checkpoint', {}).get('save_best')
    if not isinstance(found, str) or found == 'auto':
        raise GridError(
            f'{grid.file}: set the metric to compare (metric: ..., or --metric), as the '
            'evaluator calls it'
        )
    return found


def _base(path: Path, grid: Grid, options: dict) -> Config:
    if not path.is_file():
        raise GridError(f'{grid.file}: the config {path} does not exist')
    cfg = Config.fromfile(path)
    for over in grid.overrides:
        cfg = apply_overrides(cfg, over, f'{grid.file}: overrides')
    cfg = apply_overrides(cfg, options, '--cfg-options')
    if not (cfg.get('train_cfg') or {}).get('max_iters') and not (cfg.get('train_cfg') or {}).get(
        'max_epochs'
    ):
        raise GridError(f'{path}: train_cfg has neither max_iters nor max_epochs')
    return cfg


def _check(grid: Grid) -> None:
    """Check types, and convert the names of values to text, because YAML reads 4 as a number."""

    def complain(what: str, expected: str):
        raise GridError(f'{grid.file}: {what}: expected {expected}')

    for axis, values in grid.axes.items():
        if (
            not isinstance(axis, str)
            or axis in ('seed', 'value')
            or not isinstance(values, dict)
            or not values
        ):
            complain(
                f'axes.{axis} is {values!r}',
                "a name other than 'seed' and 'value', with named values",
            )
        for name, over in values.items():
            if not isinstance(name, str | int | float) or isinstance(name, bool):
                complain(
                    f'axes.{axis} has a value named {name!r}',
                    'a text or a number; YAML reads no, off, null and the '
                    'like as something else, so put it in quotes',
                )
            if over is not None and not isinstance(over, dict):
                complain(f'axes.{axis}.{name} is {over!r}', 'overrides: dotted key -> value')
        grid.axes[axis] = {str(name): over or {} for name, over in values.items()}
    if sum(any(BASE in over for over in values.values()) for values in grid.axes.values()) > 1:
        complain('two axes have a base', 'at most one')
    if (
        not isinstance(grid.seeds, list)
        or not grid.seeds
        or len(set(map(str, grid.seeds))) < len(grid.seeds)
        or not all(type(seed) is int and seed >= 0 for seed in grid.seeds)
    ):
        complain(f'seeds is {grid.seeds!r}', 'a list of different integers >= 0')
    if not all(isinstance(over, dict) for over in grid.overrides):
        complain(f'overrides is {grid.overrides!r}', 'dotted key -> value')
    if not isinstance(grid.reference, dict):
        complain(f'reference is {grid.reference!r}', 'axis -> name of a value')
    if not isinstance(grid.rates, dict) or not all(
        isinstance(part, str) for part in grid.rates.values()
    ):
        complain(f'rates is {grid.rates!r}', 'label -> part of the names of layers')
    entries = [('exclude', entry) for entry in grid.exclude]
    entries += [('reference', {key: str(name)}) for key, name in grid.reference.items()]
    entries += [('published.values', entry) for entry in grid.published.get('values', ())]
    for where, entry in entries:
        for axis, names in entry.items():
            if axis == 'value' and where == 'published.values':
                continue
            for name in names if isinstance(names, list) else [names]:
                if str(name) not in grid.axes.get(axis, ()):
                    complain(
                        f'{where} has {axis}: {name}',
                        f'axes and values of the grid ({", ".join(grid.axes)})',
                    )


def _matches(values: dict[str, str], rule: dict) -> bool:
    return all(
        values[axis] in map(str, names if isinstance(names, list) else [names])
        for axis, names in rule.items()
    )


class _UniqueKeys(yaml.SafeLoader):
    """YAML loader that raises on duplicate keys; the safe loader silently drops the first one."""

    def construct_mapping(self, node, deep=False):
        """Build a mapping, and raise an error if a key appears twice."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'the key {key!r} appears twice', key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
