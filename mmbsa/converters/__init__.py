"""Converters from official checkpoints to models of mmbsa.

Every module of this folder registers its sources on import.
"""

import pkgutil
from importlib import import_module

from mmbsa.converters.base import RECIPES, Recipe, Report, build_from_official

__all__ = ['RECIPES', 'Recipe', 'Report', 'build_from_official']

#: packages that some models need; their sources are skipped if a package is not installed.
OPTIONAL = ('mmseg', 'mmpretrain', 'mmdet')
for _info in pkgutil.iter_modules(__path__):
    try:
        import_module(f'{__name__}.{_info.name}')
    except ModuleNotFoundError as error:
        if (error.name or '').partition('.')[0] not in OPTIONAL:
            raise
