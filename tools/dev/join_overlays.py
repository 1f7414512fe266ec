"""Join the predictions of several runs of one picture: photo, ground truth, one column per run.

    python tools/dev/join_overlays.py FPN=work_dirs/a/overlays/val_iter_000800/x.png \\
        BSA=work_dirs/b/overlays/val_iter_000800/x.png --out comparison.png

The files are written by ``mmbsa.OverlayHook``: panels of one width (image, ground truth,
prediction) with gaps of 6 pixels, a title of 22 pixels above, a legend below. Several pictures are
written below each other: ``--pictures`` gives their names, and the arguments are then folders.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

GAP, TITLE = 6, 22


def panels(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the three panels of an overlay without titles, and the legend."""
    picture = cv2.imread(str(path))
    if picture is None:
        raise SystemExit(f'error: {path} is no picture')
    width = (picture.shape[1] - 2 * GAP) // 3
    body = picture[TITLE:]
    legend = next(  # the first row below the panels in which the left edge is paper
        row for row in range(len(body)) if (body[row, : 3 * width] == 255).all()
    )
    starts = [index * (width + GAP) for index in range(3)]
    return [body[:legend, start : start + width] for start in starts], body[legend:]


def titled(panel: np.ndarray, title: str) -> np.ndarray:
    """Add a title above a panel."""
    head = np.full((TITLE, panel.shape[1], 3), 255, np.uint8)
    cv2.putText(head, title, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA)
    return np.vstack([head, panel])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('runs', nargs='+', help='TITLE=overlay file, or folder with --pictures')
    parser.add_argument('--pictures', nargs='+', help='names of the pictures in the folders')
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    runs = dict(run.split('=', 1) for run in args.runs)
    rows, legend = [], None
    for name in args.pictures or [None]:
        files = {title: Path(place, name) if name else Path(place) for title, place in runs.items()}
        found = {title: panels(path) for title, path in files.items()}
        (image, truth, _), legend = next(iter(found.values()))
        shown = {'image': image, 'ground truth': truth}
        shown |= {title: parts[0][2] for title, parts in found.items()}
        columns = []
        for title, panel in shown.items():
            panel = panel if rows else titled(panel, title)
            columns += [panel, np.full((len(panel), GAP, 3), 255, np.uint8)]
        rows += [np.hstack(columns[:-1]), np.full((GAP, 1, 3), 255, np.uint8)]
    width = rows[0].shape[1]
    rows = [
        np.broadcast_to(row, (len(row), width, 3)) if row.shape[1] == 1 else row for row in rows
    ]
    extra = np.full((len(legend), max(width - legend.shape[1], 0), 3), 255, np.uint8)
    cv2.imwrite(str(args.out), np.vstack([*rows, np.hstack([legend, extra])[:, :width]]))
    print(args.out)


if __name__ == '__main__':
    main()
