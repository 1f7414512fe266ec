"""Predictions of several runs in one picture."""

import cv2
import numpy as np
import tiny_tools

from mmbsa.visualization.overlay import side_by_side, write_image

PALETTE = [(200, 0, 0), (0, 0, 200)]


def test_join_overlays_keeps_every_prediction(tmp_path, monkeypatch):
    truth = np.zeros((16, 20), np.int64)
    for run, label in (('a', 0), ('b', 1)):
        for name in ('x.png', 'y.png'):
            image = np.full((16, 20, 3), 100, np.uint8)
            maps = dict(truth=truth, prediction=np.full_like(truth, label))
            (tmp_path / run).mkdir(exist_ok=True)
            picture = side_by_side(image, maps, ('sky', 'road'), PALETTE, opacity=1.0)
            write_image(tmp_path / run / name, picture)
    runs = [f'{run.upper()}={tmp_path / run}' for run in 'ab']
    out = tmp_path / 'joined.png'
    args = (*runs, '--pictures', 'x.png', 'y.png', '--out', out)
    tiny_tools.run_tool('dev/join_overlays.py', monkeypatch, *args)
    joined = cv2.imread(str(out))[..., ::-1]
    width = (joined.shape[1] - 3 * 6) // 4
    centres = [index * (width + 6) + width // 2 for index in range(4)]
    for row in (22 + 128, 22 + 256 + 6 + 128):
        assert joined[row, centres].tolist() == [
            [100] * 3,
            list(PALETTE[0]),
            list(PALETTE[0]),
            list(PALETTE[1]),
        ]
