"""The table of all models: what is in it, and that it follows the metafiles."""

import importlib.util
from pathlib import Path

import pytest
import yaml

for package in ('sphinx', 'matplotlib', 'mmseg'):
    pytest.importorskip(package, reason=f"pip install -e '.[docs]': {package} is not installed")

ROOT = Path(__file__).resolve().parents[2]


def load():
    spec = importlib.util.spec_from_file_location('zoo', ROOT / 'docs' / '_ext' / 'zoo_table.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


zoo = load()
METAFILE = """
Collections: []
Models:
  - Name: one
    In Collection: A
    Metadata: {Training Data: X, T: 2, D: 1, Parameters: 1500000}
    Results:
      - {Task: t, Dataset: X, Metrics: {Top 1 Accuracy: 50, Energy (mJ): 0.5}, source: ours}
      - {Task: t, Dataset: Y, T: 4, Metrics: {mIoU: 60.5}, source: ours}
  - Name: two<b>
    In Collection: A
    Config: c.py
    Metadata: {Training Data: X, Parameters: 7}
"""


@pytest.fixture
def repo(tmp_path, monkeypatch):
    (tmp_path / 'configs' / 'a').mkdir(parents=True)
    (tmp_path / 'configs' / 'a' / 'metafile.yml').write_text(METAFILE)
    (tmp_path / 'c.py').write_text("test_evaluator = [dict(type='mmbsa.PointAccuracy')]\n")
    monkeypatch.setattr(zoo, 'ROOT', tmp_path)
    return tmp_path


def test_every_result_is_a_row(repo):
    first, second, third = zoo.records()
    assert first.cells() == ['one', 'A', 'classification', 'X', 2, 1, 1.5, 50] + [
        'Top 1 Accuracy',
        0.5,
        '',
        'ours',
    ]
    assert (second.task, second.data, second.conditions) == ('segmentation', 'Y', 'T = 4')
    assert (third.task, third.score, third.source) == ('point clouds', None, '')
    html = zoo.table([first, second, third])
    assert html.count('<tr>') == 4 and 'two&lt;b&gt;' in html and 'title="c.py"' in html
    assert '<td class="number" data-value="60.5">60.50</td>' in html


def test_a_config_of_an_unknown_task_is_named(repo):
    (repo / 'c.py').write_text("test_evaluator = dict(type='Mystery')\n")
    with pytest.raises(ValueError, match=r'c.py: test_evaluator.type is Mystery'):
        zoo.records()


@pytest.fixture(scope='module')
def rows():
    return zoo.records()


def test_all_metafiles_are_read(rows):
    listed = {
        model['Name']
        for path in (ROOT / 'configs').rglob('*.yml')
        for model in yaml.safe_load(path.read_text()).get('Models', ())
    }
    assert {row.model for row in rows} == listed and len(listed) > 200
    assert {row.task for row in rows} == {*zoo.TASKS.values(), 'point clouds'}
    assert all(0 < row.score < 100 for row in rows if row.score is not None)


def test_pictures_hold_every_scored_model(rows, tmp_path):
    found = zoo.pictures(rows)
    for key, _, title, chosen in found.values():
        kept = sum(len(part) for part in zoo.series(chosen, key).values())
        assert kept == len(chosen) >= zoo.ENOUGH and {row.data for row in chosen} == {title}
    key, label, title, chosen = next(iter(found.values()))
    assert title == 'ImageNet-1K' and any(name.endswith('energy.svg') for name in found)
    zoo.draw(chosen, key, label, title, tmp_path / 'a.svg')
    zoo.draw(chosen, key, label, title, tmp_path / 'b.svg')
    assert (tmp_path / 'a.svg').read_text() == (tmp_path / 'b.svg').read_text()
