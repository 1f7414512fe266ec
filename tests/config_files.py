"""Every config of the repo and its metafile entry, for the tests of configs."""

from functools import cache
from pathlib import Path

import yaml
from mmengine import Config
from mmengine.registry import init_default_scope

from mmbsa.utils.launch import fill_in

ROOT = Path(__file__).resolve().parents[1]
ALL = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)
BASES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / 'configs' / '_base_').rglob('*.py'))


def load(path: str) -> Config:
    """A config in its scope, with what our tools fill in."""
    cfg = Config.fromfile(ROOT / path)
    init_default_scope(cfg.default_scope)
    fill_in(cfg)
    return cfg


@cache
def of_scope(scope: str) -> list[str]:
    """Paths of the configs of mmseg or of mmpretrain."""
    return [path for path in ALL if Config.fromfile(ROOT / path).default_scope == scope]


def metafiles() -> dict[str, dict]:
    """Contents of the metafiles that mim reads, by path."""
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    return {path: yaml.safe_load((ROOT / path).read_text()) for path in index['Import']}


def entries() -> list[dict]:
    """All models in them."""
    return [entry for content in metafiles().values() for entry in content['Models']]


def entry(path: str) -> dict:
    """The one entry of a config."""
    found = [entry for entry in entries() if entry['Config'] == path]
    assert len(found) == 1, f'{path} needs exactly one entry in a metafile'
    return found[0]


def native_config(path: str) -> str:
    """The config of the same model, data and size with the family's own attention: that of the same
    recipe, or else the only one."""
    *model, recipe, data = Path(path).stem.split('_')
    model.remove('bsa')
    found = [
        other
        for other in ALL
        if Path(other).parent == Path(path).parent
        and (*Path(other).stem.split('_')[:-2], Path(other).stem.split('_')[-1]) == (*model, data)
    ]
    same = [other for other in found if Path(other).stem.split('_')[-2] == recipe]
    (one,) = same or found
    return one
