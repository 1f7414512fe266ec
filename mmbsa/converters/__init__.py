"""Converters: official checkpoints -> our models. Every module of this folder registers its sources on import."""
import pkgutil
from importlib import import_module

from mmbsa.converters.base import RECIPES, Recipe, Report, build_from_official

__all__ = ['RECIPES', 'Recipe', 'Report', 'build_from_official']

for _info in pkgutil.iter_modules(__path__):
    import_module(f'{__name__}.{_info.name}')
