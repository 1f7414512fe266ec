"""Official checkpoints into our models, exactly; importing this package registers every recipe."""
from mmbsa.converters import sdt_v3
from mmbsa.converters.base import RECIPES, Recipe, Report, build_from_official

__all__ = ['RECIPES', 'Recipe', 'Report', 'build_from_official', 'sdt_v3']
