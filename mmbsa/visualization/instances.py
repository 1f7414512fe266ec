"""Pictures of detections: boxes and masks over an image, ground truth next to prediction.

All functions take arrays only (uint8, RGB), no runner and no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mmbsa.visualization.overlay import FONT, panels


@dataclass
class Instances:
    """Predicted or annotated instances of an image.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels.
        labels: (N,) indices of classes.
        scores: (N,) in 0..1, or None for the ground truth.
        masks: (N, H, W) of bool, or None.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    masks: np.ndarray | None = None

    def above(self, threshold: float) -> 'Instances':
        """Return the instances with a score of at least ``threshold``, or all without scores."""
        if self.scores is None:
            return self
        kept = self.scores >= threshold
        return Instances(
            self.boxes[kept],
            self.labels[kept],
            self.scores[kept],
            None if self.masks is None else self.masks[kept],
        )


def draw_instances(
    image: np.ndarray, found: Instances, palette: Sequence[Sequence[int]], opacity: float = 0.5
) -> np.ndarray:
    """Tint masks, and draw boxes with the score in percent.

    Args:
        image: RGB, uint8 (H, W, 3).
        found: instances in the pixels of the image.
        palette: RGB colour of every class.
        opacity: weight of a mask's colour over the image, 0 to 1.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    image = np.ascontiguousarray(image).copy()
    colours = np.asarray(palette, np.float32)[found.labels]
    for mask, colour in zip([] if found.masks is None else found.masks, colours):
        image[mask] = (1 - opacity) * image[mask] + opacity * colour
    for index, (box, colour) in enumerate(zip(found.boxes.round().astype(int), colours.tolist())):
        cv2.rectangle(image, box[:2].tolist(), box[2:].tolist(), colour, 1)
        if found.scores is not None:
            cv2.putText(
                image,
                f'{100 * found.scores[index]:.0f}',
                (int(box[0]) + 2, int(box[1]) + 10),
                FONT,
                0.35,
                colour,
                1,
                cv2.LINE_AA,
            )
    return image


def instances_side_by_side(
    image: np.ndarray,
    found: Mapping[str, Instances],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    opacity: float = 0.5,
    height: int = 256,
) -> np.ndarray:
    """Draw the image and one panel per set of instances, with a legend of the classes that occur.

    Args:
        image: RGB, uint8 (H, W, 3).
        found: title -> instances, drawn in order, e.g. ``{'ground truth': gt, 'prediction':
            pred}``.
        classes: names of the classes.
        palette: RGB colour of every class.
        opacity: weight of masks over the image, 0 to 1; 0.5 by default.
        height: smaller images are enlarged to this height in pixels first, so that titles and
            scores are readable; 256 by default.

    Returns:
        RGB, uint8.
    """
    factor = max(1, round(height / image.shape[0]))
    size = (image.shape[1] * factor, image.shape[0] * factor)
    image = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
    drawn = {'image': image}
    for title, one in found.items():
        masks = (
            None
            if one.masks is None
            else np.asarray(
                [
                    cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
                    for mask in one.masks
                ]
            )
        )
        large = Instances(one.boxes * factor, one.labels, one.scores, masks)
        drawn[title] = draw_instances(image, large, palette, opacity)
    present = np.unique(np.concatenate([one.labels for one in found.values()])) if found else []
    return panels(drawn, classes, palette, [int(label) for label in present])


def spread_palette(number: int) -> list[tuple[int, int, int]]:
    """Return RGB colours for ``number`` classes without a palette, with evenly spaced hues."""
    hues = np.asarray(
        [[[180 * (index * 0.618 % 1), 200, 230]] for index in range(number)], np.uint8
    ).reshape(-1, 1, 3)
    return (
        [tuple(int(c) for c in colour) for colour in cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)[:, 0]]
        if number
        else []
    )
