"""Pictures of a segmentation: panels side by side with titles and a legend.

All functions take arrays only (uint8, RGB), no runner and no model.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from mmbsa.utils.files import atomic_open

FONT = cv2.FONT_HERSHEY_SIMPLEX
PAPER, INK = 255, (30, 30, 30)


def blend(
    image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], opacity: float = 0.6
) -> np.ndarray:
    """Blend an image with the colours of its labels.

    Args:
        image: RGB, uint8 (H, W, 3).
        labels: integers (H, W); pixels with values outside of the palette (void, 255) become grey
            and darker.
        palette: RGB colour of every class.
        opacity: weight of the colours, 0 to 1; 0.6 by default.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(
            f'image and labels must have one size, got {image.shape[:2]} and {labels.shape}'
        )
    known = labels < len(palette)
    tint = np.asarray(palette, np.float32)[np.where(known, labels, 0)]
    mixed = (1 - opacity) * image + opacity * tint
    grey = 0.5 * image.mean(-1, keepdims=True)
    return np.where(known[..., None], mixed, grey).clip(0, 255).astype(np.uint8)


def legend(
    classes: Sequence[str], palette: Sequence[Sequence[int]], present: Sequence[int], width: int
) -> np.ndarray:
    """Draw colour boxes with the names of the ``present`` classes; RGB uint8 (h, width, 3).

    Args:
        classes: names of the classes.
        palette: RGB colour of every class.
        present: indices of the classes to draw.
        width: width of the picture in pixels, at which lines wrap.
    """
    box, line, scale = 14, 22, 0.45
    places, x, y = [], 6, 4
    for label in present:
        (text, _), _ = cv2.getTextSize(classes[label], FONT, scale, 1)
        if x > 6 and x + box + text + 14 > width:
            x, y = 6, y + line
        places.append((label, x, y))
        x += box + text + 18
    sheet = np.full((y + line, width, 3), PAPER, np.uint8)
    for label, x, y in places:
        cv2.rectangle(sheet, (x, y), (x + box, y + box), [int(c) for c in palette[label]], -1)
        cv2.putText(
            sheet, classes[label], (x + box + 4, y + box - 2), FONT, scale, INK, 1, cv2.LINE_AA
        )
    return sheet


def titled(panel: np.ndarray, title: str) -> np.ndarray:
    """Add a line with a title above a panel."""
    head = np.full((22, panel.shape[1], 3), PAPER, np.uint8)
    cv2.putText(head, title, (4, 16), FONT, 0.5, INK, 1, cv2.LINE_AA)
    return np.vstack([head, panel])


def side_by_side(
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    opacity: float = 0.6,
    height: int = 256,
) -> np.ndarray:
    """Draw the image and one overlay per label map, with a legend of the classes that occur.

    Args:
        image: RGB, uint8 (H, W, 3).
        maps: title -> labels (H, W), drawn in order, e.g.
            ``{'ground truth': gt, 'prediction': pred}``.
        classes: names of the classes.
        palette: RGB colour of every class.
        opacity: weight of the colours, 0 to 1; 0.6 by default.
        height: smaller images are enlarged to this height in pixels, so that titles are readable;
            256 by default.

    Returns:
        RGB, uint8.
    """
    shown = {
        'image': image,
        **{title: blend(image, labels, palette, opacity) for title, labels in maps.items()},
    }
    if image.shape[0] < height:
        size = (round(image.shape[1] * height / image.shape[0]), height)
        shown = {
            title: cv2.resize(panel, size, interpolation=cv2.INTER_NEAREST)
            for title, panel in shown.items()
        }
    seen = (
        np.unique(np.concatenate([np.unique(labels) for labels in maps.values()])) if maps else []
    )
    return panels(shown, classes, palette, [int(i) for i in seen if i < len(classes)])


def panels(
    shown: Mapping[str, np.ndarray],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    present: Sequence[int],
) -> np.ndarray:
    """Draw pictures of one size side by side, with a legend of the ``present`` classes below.

    Args:
        shown: title -> picture, RGB uint8 (H, W, 3).
        classes: names of the classes.
        palette: RGB colour of every class.
        present: indices of the classes in the legend.
    """
    columns = []
    for title, panel in shown.items():
        columns += [titled(panel, title), np.full((panel.shape[0] + 22, 6, 3), PAPER, np.uint8)]
    row = np.hstack(columns[:-1])
    return np.vstack([row, legend(classes, palette, present, row.shape[1])])


def write_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write a uint8 image, RGB (H, W, 3) or grey (H, W), completely or not at all.

    The folder is created if needed.

    Args:
        path: the file; its ending sets the format.
        image: the image.

    Raises:
        ValueError: OpenCV cannot write files with this ending.
    """
    path = Path(path)
    if not cv2.haveImageWriter(str(path)):
        raise ValueError(f'{path}: no image format is known for the ending {path.suffix!r}')
    _, data = cv2.imencode(path.suffix, image[..., ::-1] if image.ndim == 3 else image)
    with atomic_open(path) as file:
        file.write(data.tobytes())
