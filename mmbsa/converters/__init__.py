"""Official checkpoints into our models, exactly; importing this package registers every recipe."""
from mmbsa.converters import (
    qkformer,
    sdt_v1,
    sdt_v2,
    sdt_v2_det,
    sdt_v3,
    sdt_v3_large,
    sdtv3_det,
    spike_heads,
    spikformer,
    spikingformer,
    spikingresformer,
)
from mmbsa.converters.base import RECIPES, Recipe, Report, build_from_official

__all__ = ['RECIPES', 'Recipe', 'Report', 'build_from_official', 'qkformer', 'sdt_v1', 'sdt_v2', 'sdt_v2_det',
           'sdt_v3', 'sdt_v3_large', 'sdtv3_det', 'spike_heads', 'spikformer', 'spikingformer', 'spikingresformer']
