"""Pages name only files, folders and types that exist."""

import re
from pathlib import Path

import pytest
from mmengine.registry import Registry

import mmbsa.registry
from mmbsa.utils.listing import visible_files

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md')),
    *visible_files(ROOT / 'docs', ('.md',)),
]
#: CHANGELOG.md names files that were renamed, and is left out.
REGISTRIES = [value for value in vars(mmbsa.registry).values() if isinstance(value, Registry)]


def names_of(page: Path) -> list[str]:
    """Files and folders of the repository that a page names; ``my_*`` are the reader's own."""
    found = re.findall(r'\b(?:configs|tools|mmbsa|tests|demo)/[\w./*{},-]*[\w*}]', page.read_text())
    return [name for name in found if '/my_' not in name]


def links_of(page: Path) -> list[str]:
    """Targets of the page's links into the repository."""
    targets = re.findall(r'\]\(([^)\s]+)\)', page.read_text())
    return [target.split('#')[0] for target in targets if not re.match(r'\w+:|#', target)]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_names_files_that_exist(page):
    missing = []
    for name in dict.fromkeys(names_of(page)):
        patterns = [name]
        while any('{' in pattern for pattern in patterns):  # a{b,c}d -> abd, acd
            patterns = [
                pattern[: match.start()] + part + pattern[match.end() :]
                for pattern in patterns
                for match in [re.search(r'\{([^{}]*)\}', pattern)]
                for part in match.group(1).split(',')
            ]
        missing += [pattern for pattern in patterns if not any(ROOT.glob(pattern.rstrip('/')))]
    missing += [name for name in links_of(page) if not (page.parent / name).exists()]
    assert not missing, f'{page.name} names what does not exist: {missing}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_names_types_that_are_registered(page):
    names = set(re.findall(r'\bmmbsa\.([A-Z]\w+)', page.read_text()))
    registered = {name for registry in REGISTRIES for name in registry_names(registry)}
    assert names <= registered | DEFINED_ON_PAGES, sorted(names - registered - DEFINED_ON_PAGES)


#: classes that CONTRIBUTING.md itself defines.
DEFINED_ON_PAGES = set(re.findall(r'^class (\w+)', (ROOT / 'CONTRIBUTING.md').read_text(), re.M))


def registry_names(registry: Registry) -> set[str]:
    """Names of a registry and of its children, modules of ours imported."""
    registry.import_from_location()
    return set(registry.module_dict)
