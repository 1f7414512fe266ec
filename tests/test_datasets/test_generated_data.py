"""Generated data sets are the same everywhere: figures of fixed seeds against stored ones.

``python tests/test_datasets/test_generated_data.py`` writes the stored figures again, after an
intended change of a generator.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from mmbsa.datasets import point_solids, scene_painter
from mmbsa.datasets.tracking.moving_targets import Scene, _render

STORED = Path(__file__).resolve().parents[1] / 'data' / 'generated.json'


def scene_figures(seed: int) -> dict:
    """Mean colour of every cell of a grid, and pixels per class."""
    img, labels = scene_painter.draw_scene(np.random.default_rng(seed), (96, 128))
    cells = img.reshape(8, 12, 8, 16, 3).mean((1, 3))
    return dict(cells=cells.round(2).tolist(), labels=np.bincount(labels.ravel()).tolist())


def solid_figures(kind: str) -> dict:
    """Moments of the coordinates, of the surface and of a cloud as the data set has it."""
    surface = getattr(point_solids, kind)(np.random.default_rng(5), 400)
    cloud = point_solids.draw_solid(kind, np.random.default_rng(6), 200, 0.02, 0.3, 'vertical')
    moments = [
        function(points)
        for points in (surface, cloud)
        for function in (
            lambda x: x.mean(0),
            lambda x: x.std(0),
            lambda x: np.abs(x).max(0),
            lambda x: (x**3).mean(0),
        )
    ]
    return dict(points=[len(surface), len(cloud)], moments=np.stack(moments).round(6).tolist())


def tracking_figures(index: int) -> dict:
    """Boxes of the target and events per channel and frame."""
    scene = Scene(1, index, (48, 64), 5, 1, 3, 0.4, 0.15, 0.5)
    frames = _render.__wrapped__(scene)
    return dict(boxes=scene.boxes().round(3).tolist(), sums=frames.sum((1, 2, 3)).tolist())


SOLIDS = (
    'sphere',
    'box',
    'cylinder',
    'cone',
    'torus',
    'tetrahedron',
    'pyramid',
    'helix',
    'cross',
    'bowl',
)
FIGURES = {
    **{f'scene {seed}': (scene_figures, seed) for seed in range(12)},
    **{f'solid {kind}': (solid_figures, kind) for kind in SOLIDS},
    **{f'tracking {index}': (tracking_figures, index) for index in range(2)},
}


@pytest.mark.parametrize('name', FIGURES)
def test_generated_data_have_the_stored_figures(name):
    function, argument = FIGURES[name]
    stored, found = json.loads(STORED.read_text())[name], function(argument)
    assert found.keys() == stored.keys()
    for key in stored:  # another version of OpenCV may round a pixel otherwise
        room = dict(cells=0.05, labels=3, sums=30).get(key, 1e-3)
        np.testing.assert_allclose(found[key], stored[key], rtol=1e-4, atol=room, err_msg=key)


if __name__ == '__main__':
    written = {name: function(argument) for name, (function, argument) in FIGURES.items()}
    STORED.write_text(json.dumps(written, separators=(',', ':')) + '\n')
