"""Pages written at build time: links of copied files, and plain text of docstrings."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location(
    'generated_pages', ROOT / 'docs' / '_ext' / 'generated_pages.py'
)
pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pages)


def test_links_of_a_copy_lead_to_the_same_place():
    text = '[a](docs/swap.md) [b](mmbsa/ops) [c](CHANGELOG.md) [d](https://x.y) [e](#part)'
    assert pages.relink(text) == (
        '[a](../swap.md) [b](../../mmbsa/ops) [c](changelog.md) [d](https://x.y) [e](#part)'
    )


def test_links_to_a_copied_file_lead_to_its_page():
    source = ['[a](../CONTRIBUTING.md) [b](../../CHANGELOG.md#x) [c](../configs/a.py)']
    pages.link_to_copies(None, 'page', source)
    assert source[0] == (
        '[a](/generated/contributing.md) [b](/generated/changelog.md#x) [c](../configs/a.py)'
    )


@pytest.mark.parametrize(
    'line, expected',
    [
        ('(T, *) -> sum of |k|', r'(T, \*) -> sum of \|k\|'),
        ('``(T, *)`` and **bold** and *one word* stay', None),
        ('* a bullet, a * b', r'* a bullet, a \* b'),
        (r'already \* escaped', None),
        (':math:`|x|` and |x|', r':math:`|x|` and \|x\|'),
    ],
)
def test_stars_and_bars_are_text(line, expected):
    lines = [line]
    pages.escape_plain_text(None, 'class', 'x', None, None, lines)
    assert lines == [line if expected is None else expected]


def test_blocks_are_left_alone():
    lines = ['Data flow::', '', '    a * b | c', '', 'after a * b', '.. math:: a *', '    |b|', '*']
    pages.escape_plain_text(None, 'class', 'x', None, None, lines)
    assert lines == [*lines[:4], r'after a \* b', '.. math:: a *', '    |b|', r'\*']
    assert lines[2] == '    a * b | c'


def test_every_page_has_its_modules_names(monkeypatch):
    monkeypatch.setattr(pages, 'PACKAGES', ('mmbsa.ops', 'mmbsa.registry'))
    found = pages.pages()
    assert ':imported-members:' in found['api/mmbsa.ops.md']
    assert ':imported-members:' not in found['api/mmbsa.registry.md']
    assert 'mmbsa.ops\nmmbsa.registry' in found['api/index.md']
    assert '# Contributing' in found['contributing.md']
