"""Ablations: train a grid of axes and seeds over one config, and report it as table and plots."""

from mmbsa.apis.ablation.grid import (
    Cell,
    Grid,
    expand,
    grid_of_configs,
    metric_of,
    read_grid,
    select,
)
from mmbsa.apis.ablation.overrides import GridError, apply_overrides
from mmbsa.apis.ablation.run import LocalRunner, evaluate_test_split
from mmbsa.apis.ablation.state import CellFolder
from mmbsa.apis.ablation.table import Row, collect

__all__ = [
    'Cell',
    'CellFolder',
    'Grid',
    'GridError',
    'LocalRunner',
    'Row',
    'apply_overrides',
    'collect',
    'evaluate_test_split',
    'expand',
    'grid_of_configs',
    'metric_of',
    'read_grid',
    'select',
]
