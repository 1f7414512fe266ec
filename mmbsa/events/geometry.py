"""Linear maps around the sensor's centre; x increases right, y increases down."""

import numpy as np


def rotation(degrees: float) -> np.ndarray:
    """Return the 2 x 2 matrix that rotates (x, y) by ``degrees``, clockwise on the screen."""
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def shearing(x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Return the 2 x 2 matrix of (x, y) -> (x + x_shear * y, y + y_shear * x)."""
    return np.array([[1.0, x], [y, 1.0]])


def middle(size: tuple[int, int]) -> np.ndarray:
    """Return the centre (x, y) between the outermost pixel centres of a (height, width) sensor."""
    height, width = size
    return np.array([(width - 1) / 2, (height - 1) / 2])
