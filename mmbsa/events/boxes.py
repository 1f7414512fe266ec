"""Reader of box annotations: Prophesee's Gen1 and 1Mpx automotive detection data sets."""

import os
from pathlib import Path

import numpy as np

from mmbsa.events.formats.source import RecordingError

#: time (microseconds), upper left corner and size (pixels), class, object, confidence of the label
BOX_DTYPE = np.dtype(
    [
        ('t', np.int64),
        ('x', np.float32),
        ('y', np.float32),
        ('w', np.float32),
        ('h', np.float32),
        ('class_id', np.int32),
        ('track_id', np.int64),
        ('class_confidence', np.float32),
    ]
)
#: class names, in the order of class_id
GEN1_CLASSES = ('car', 'pedestrian')
ONE_MPX_CLASSES = (
    'pedestrian',
    'two wheeler',
    'car',
    'truck',
    'bus',
    'traffic sign',
    'traffic light',
)


def read_boxes(path: str | os.PathLike, num_classes: int | None = None) -> np.ndarray:
    """Read the boxes of a recording (``*_bbox.npy``), a structured array.

    Boxes may extend over the border of the sensor, as for objects that enter the picture. The time
    is named ``t`` or, in older files, ``ts``.

    Args:
        path: the file.
        num_classes: number of classes; class_id must be in 0..num_classes - 1. None (default)
            accepts any class_id that is not negative.

    Returns:
        Boxes (N,) of ``BOX_DTYPE`` in the order of time (stable). N may be 0.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: fields are missing, values are NaN, a box has no width or height, or a class_id
            is out of range; the message names the file and the box.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file of boxes')
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RecordingError(
            path, f'no array of boxes ({type(error).__name__}: {error})'
        ) from error
    names = rows.dtype.names or ()
    time_name = 't' if 't' in names else 'ts'
    needed = {time_name, 'x', 'y', 'w', 'h', 'class_id'}
    if rows.ndim != 1 or not needed <= set(names):
        raise RecordingError(
            path,
            'expected boxes with the fields t (or ts), x, y, w, h, class_id; '
            f'got shape {rows.shape}, fields {names or rows.dtype}',
        )
    boxes = np.zeros(len(rows), BOX_DTYPE)
    boxes['class_confidence'] = 1.0
    for name in BOX_DTYPE.names or ():
        source = time_name if name == 't' else name
        if source not in names:
            continue
        column = rows[source]
        if column.dtype.kind not in 'iuf' or not np.isfinite(column).all():
            raise RecordingError(path, f'{source} should hold finite numbers, got {column.dtype}')
        boxes[name] = column
    empty = (boxes['w'] <= 0) | (boxes['h'] <= 0)
    if empty.any():
        place = int(np.argmax(empty))
        raise RecordingError(
            path,
            f'box {place} has the size {boxes["w"][place]:g} x '
            f'{boxes["h"][place]:g} (w x h); expected positive numbers',
        )
    limit = np.iinfo(np.int32).max if num_classes is None else num_classes
    wrong = (boxes['class_id'] < 0) | (boxes['class_id'] >= limit)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise RecordingError(
            path, f'box {place} has the class {boxes["class_id"][place]}; expected 0..{limit - 1}'
        )
    return boxes[np.argsort(boxes['t'], kind='stable')]
