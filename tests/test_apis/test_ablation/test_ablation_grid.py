"""Grids: expansion, hashes, and overrides that cannot miss."""

from pathlib import Path

import pytest
import tiny_cell
import yaml
from mmengine.config import Config

from mmbsa.apis.ablation import (
    GridError,
    apply_overrides,
    expand,
    grid_of_configs,
    metric_of,
    read_grid,
    select,
)
from mmbsa.apis.ablation.grid import config_key

GRID = dict(
    base='tiny.py',
    metric='score',
    seeds=[0, 3],
    overrides={'train_cfg.max_iters': 8},
    axes=dict(
        width={4: {}, 8: {'model.width': 8}},
        kind={
            'plain': {},
            'other': {'model.inner': {'kind': 'x', 'gain': 2.0}},
            'new': {'+model.inner.more': 1},
        },
    ),
    exclude=[dict(width=8, kind=['new'])],
    published=dict(source='a paper', values=[dict(width=8, kind='other', value=12.5)]),
    budgets=dict(
        small=dict(seeds=[5], overrides={'train_cfg.max_iters': 4}),
        other=dict(
            base='other.py',
            axes=dict(width={'2': {'model.width': 2}}, kind=None),
            exclude=[],
            published={},
        ),
    ),
)


@pytest.fixture
def write(tmp_path):
    (tmp_path / 'tiny.py').write_text(tiny_cell.CONFIG)
    (tmp_path / 'other.py').write_text(tiny_cell.CONFIG + 'max_keep = 3\n')

    def write(**changes) -> Path:
        path = tmp_path / 'grid.yaml'
        path.write_text(yaml.safe_dump({**GRID, **changes}, sort_keys=False))
        return path

    return write


@pytest.fixture
def cfg(tmp_path):
    (tmp_path / 'cfg.py').write_text(tiny_cell.CONFIG)
    return Config.fromfile(tmp_path / 'cfg.py')


def test_grid_expands_to_cells(write):
    grid = read_grid(write())
    cells = expand(grid)
    assert [(c.values['width'], c.values['kind'], c.seed) for c in cells[:5]] == [
        ('4', 'plain', 0),
        ('4', 'other', 0),
        ('4', 'new', 0),
        ('8', 'plain', 0),
        ('8', 'other', 0),
    ]
    assert len(cells) == 10 and [c.seed for c in cells] == [0] * 5 + [3] * 5
    one = cells[4]
    assert one.config.model.width == 8 and one.config.model.inner == dict(kind='x', gain=2.0)
    assert one.config.randomness.seed == 0 and one.config.train_cfg.max_iters == one.last_step == 8
    assert cells[2].config.model.inner == dict(kind='plain', gain=1.0, more=1)
    assert cells[0].config.model.width == 4 and cells[5].config.randomness.seed == 3
    assert len({c.key for c in cells}) == len({c.name for c in cells}) == 10
    assert one.name == f'8_other_seed0_{one.key}'
    assert (
        grid.published_value(one.values) == 12.5 and grid.published_value(cells[0].values) is None
    )
    assert metric_of(grid, cells) == 'score'


def test_grid_takes_budgets(write):
    small = read_grid(write(), 'small')
    assert (
        small.seeds == [5]
        and {c.last_step for c in expand(small)} == {4}
        and small.name == 'grid-small'
    )
    other = read_grid(write(), 'other')
    cell, _ = expand(other)
    assert list(other.axes) == ['width'], 'an axis that is null is dropped'
    assert cell.config.max_keep == 3 and cell.last_step == 8 and cell.config.model.width == 2
    full = dict(GRID['budgets'], full=dict(seeds=[9]))
    assert read_grid(write(budgets=full)).seeds == [9] and read_grid(
        write(budgets=full), 'small'
    ).seeds == [5]
    with pytest.raises(GridError, match="no budget 'big'.*full, small, other"):
        read_grid(write(), 'big')


def test_hash_is_of_what_a_config_computes(write, cfg):
    keys = [config_key(c) for c in (cfg, Config(dict(reversed(cfg.to_dict().items()))))]
    assert keys[0] == keys[1], 'the order of keys means nothing'
    for place in ({'work_dir': 'x'}, {'resume': True}, {'launcher': 'slurm'}):
        moved = cfg.copy()
        moved.merge_from_dict(place)
        assert config_key(moved) == keys[0]
    for change in ({'model.inner.gain': 1.5}, {'randomness.seed': 1}, {'train_cfg.max_iters': 13}):
        changed = apply_overrides(cfg, change, 'here')
        assert config_key(changed) != keys[0]
    assert [c.key for c in expand(read_grid(write()))] == [
        c.key for c in expand(read_grid(write()))
    ]


@pytest.mark.parametrize(
    'overrides, message',
    [
        (
            {'model.widht': 8},
            r'no model\.widht.*model has fail_at, inner, pause, type, width.*write \+',
        ),
        ({'model.inner': {'gian': 2.0}}, r'no model\.inner\.gian.*model\.inner has gain, kind'),
        ({'modle.width': 8}, 'no modle.width.*its entries are'),
        ({'model.width.deep': 8}, 'model.width is 4'),
        ({'+model.width': 8}, r'marked as new, but the config has model\.width = 4'),
        (
            {'optim_wrapper.optimizer.lr': '5e-4'},
            "is 0.1 in the config, and the grid has the text '5e-4'",
        ),
        ({3: 8}, 'dotted names'),
        ({'sizes.2': 8}, r'no sizes\.2'),
    ],
)
def test_overrides_that_would_miss_are_refused(cfg, overrides, message):
    with pytest.raises(GridError, match=f'(?s)my axis.*{message}'):
        apply_overrides(cfg, overrides, 'my axis')


def test_overrides_merge_as_cfg_options_do(cfg):
    out = apply_overrides(
        cfg,
        {
            'model.inner': dict(_delete_=True, kind='y'),
            'custom_imports.imports': ['math'],
            '+model.neck': dict(_delete_=True, a=dict(b=1)),
        },
        'here',
    )
    assert out.model.inner == dict(kind='y') and out.model.neck == dict(a=dict(b=1))
    assert out.custom_imports.imports == ['math'] and cfg.custom_imports.imports == ['tiny_cell']
    with pytest.raises(
        GridError, match='here: model.width.*cannot be merged|here.*model.width is 4'
    ):
        apply_overrides(cfg, {'model.width': dict(type='x')}, 'here')
    assert apply_overrides(
        cfg, {'model.width': dict(_delete_=True, type='x')}, 'here'
    ).model.width == dict(type='x')


def test_an_axis_without_effect_is_refused(write):
    axes = {**GRID['axes'], 'speed': {'slow': {}, 'fast': {'model.pause': 0.0}}}
    with pytest.raises(GridError, match='axis has no effect'):
        expand(read_grid(write(axes=axes)))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(axis={}), 'axis is not a key of a grid'),
        (dict(seeds=[1, 1]), 'seeds'),
        (dict(seeds=[]), 'seeds'),
        (dict(seeds=['a']), 'seeds'),
        (dict(axes={}), 'axes is missing'),
        (dict(base=None), 'base is missing'),
        (dict(axes=dict(width={False: {}}), exclude=[], published={}), 'quotes'),
        (dict(axes=[4]), 'axes'),
        (dict(axes=dict(width=[4, 8]), exclude=[], published={}), r'axes.width is \[4, 8\]'),
        (dict(axes=dict(width={4: 8}), exclude=[], published={}), r'axes.width.4 is 8'),
        (dict(exclude=[dict(width=16)]), 'exclude has width: 16'),
        (dict(reference=dict(width=16)), 'reference has width: 16'),
        (dict(reference=dict(size=4)), 'reference has size: 4'),
        (dict(reference='width'), "reference is 'width'"),
        (dict(rates=dict(q=1)), "rates is {'q': 1}"),
        (
            dict(published=dict(source='', values=[dict(wide=8, value=1)])),
            'published.values has wide: 8',
        ),
    ],
)
def test_bad_grids(write, changes, message):
    with pytest.raises(GridError, match=message):
        read_grid(write(**changes))


def test_more_bad_grids(write, tmp_path):
    path = write()
    path.write_text(path.read_text() + 'seeds: [1]\n')
    with pytest.raises(GridError, match="(?s)grid.yaml.*key 'seeds' appears twice"):
        read_grid(path)
    with pytest.raises(GridError, match='no.yaml: the grid file does not exist'):
        read_grid(tmp_path / 'no.yaml')
    with pytest.raises(GridError, match='no.py does not exist'):
        expand(read_grid(write(base='no.py')))


def test_configs_side_by_side(tmp_path, write):
    write()
    grid = grid_of_configs([tmp_path / 'tiny.py', tmp_path / 'other.py'], [0, 1])
    cells = expand(grid, {'model.width': 5})
    assert [c.values['config'] for c in cells] == ['tiny', 'other'] * 2
    assert {c.config.model.width for c in cells} == {5} and cells[1].config.max_keep == 3
    assert metric_of(grid, cells) == 'score', 'what the checkpoint hook keeps the best by'
    with pytest.raises(GridError, match='different file names'):
        grid_of_configs([tmp_path / 'tiny.py', tmp_path / 'tiny.py'], [0])
    with pytest.raises(GridError, match='--cfg-options: the config has no model.x'):
        expand(grid, {'model.x': 5})


def test_grid_selects_cells(write):
    grid = read_grid(write())
    cells = expand(grid)
    assert {
        (c.values['kind'], c.seed) for c in select(cells, ['kind=plain,new', 'seed=3'], grid.axes)
    } == {('plain', 3), ('new', 3)}
    for rule in ('kind', 'colour=red', 'kind=red', 'seed=9'):
        with pytest.raises(GridError, match=f'--only {rule}'):
            select(cells, [rule], grid.axes)
