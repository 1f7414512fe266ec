"""Boxes in event recordings: Prophesee's Gen1 and 1Mpx automotive data sets."""

from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset

from mmbsa.events import read_boxes
from mmbsa.events.boxes import GEN1_CLASSES, ONE_MPX_CLASSES
from mmbsa.registry import DATASETS
from mmbsa.utils.listing import visible_files

#: sensor -> (height, width) in pixels, classes, and the smallest diagonal and side of a box in the
#: official evaluation.
SENSORS = {
    'gen1': dict(size=(240, 304), classes=GEN1_CLASSES, diagonal=30, side=10),
    '1mpx': dict(size=(720, 1280), classes=ONE_MPX_CLASSES, diagonal=60, side=20),
}


@DATASETS.register_module()
class EventBoxes(BaseDataset):
    """Labelled times of event recordings; a sample is the window of events before such a time.

    Files: ``<name>_bbox.npy`` with the boxes and ``<name>_td.dat`` (or ``.raw``, ``.h5``) with the
    events in the same folder; the folders are ``data_root/data_prefix['img_path']`` and its
    subfolders.

    A sample has ``img_path`` of the recording, ``img_id``, ``event_window`` (start and stop in
    microseconds), ``sensor_size`` and ``instances`` as mmdet's ``LoadAnnotations`` reads them, with
    boxes clipped to the sensor. As in Prophesee's toolbox, these labels are excluded: labels up to
    0.5 s, and boxes whose annotated diagonal or side is too small (30 and 10 pixels for Gen1, 60
    and 20 for 1Mpx). Boxes outside of the sensor are excluded too. Use mmdet's ``CocoMetric``
    without ``ann_file`` for evaluation; ``PackDetInputs`` must keep the key ``instances``.

    Args:
        sensor: ``'gen1'`` (default; 304 x 240 pixels, 2 classes) or ``'1mpx'`` (1280 x 720, 7
            classes).
        window: length of a window in microseconds, 200,000 by default.
        every: use each ``every``-th labelled time of a recording, 1 by default.
        skip: labels up to this time in microseconds are excluded, 500,000 by default.
        filter_empty: whether to exclude times without a remaining box; False by default.
        metainfo: entries that replace those of the data set, such as ``classes``; None by default.
        kwargs: arguments of mmengine's ``BaseDataset``.

    Raises:
        ValueError: the sensor is unknown, ``window`` or ``every`` is below 1, or a file of boxes is
            damaged.
        FileNotFoundError: the folder has no boxes, or boxes have no recording.
    """

    METAINFO = dict(classes=GEN1_CLASSES)

    def __init__(
        self,
        sensor: str = 'gen1',
        window: int = 200_000,
        every: int = 1,
        skip: int = 500_000,
        filter_empty: bool = False,
        metainfo: dict | None = None,
        **kwargs,
    ) -> None:
        if sensor not in SENSORS:
            raise ValueError(
                f'mmbsa.EventBoxes: sensor must be one of {sorted(SENSORS)}, got {sensor!r}'
            )
        if window < 1 or every < 1:
            raise ValueError(
                f'mmbsa.EventBoxes: window and every must be at least 1, got window={window}, '
                f'every={every}'
            )
        self.sensor, self.window, self.every = SENSORS[sensor], window, every
        self.skip, self.filter_empty = skip, filter_empty
        super().__init__(metainfo={'classes': self.sensor['classes'], **(metainfo or {})}, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Describe every labelled time of every recording."""
        folder = Path(self.data_prefix.get('img_path') or self.data_root or '.')
        files = visible_files(folder, ['_bbox.npy'], recursive=True)
        if not files:
            raise FileNotFoundError(f'mmbsa.EventBoxes: no *_bbox.npy in {folder}')
        samples = []
        for path in files:
            recording = self._recording(path)
            boxes = read_boxes(path, len(self.sensor['classes']))
            for time in np.unique(boxes['t'][boxes['t'] > self.skip])[:: self.every]:
                instances = self._instances(boxes[boxes['t'] == time])
                if instances or not self.filter_empty:
                    samples.append(
                        dict(
                            img_path=str(recording),
                            img_id=len(samples),
                            height=self.sensor['size'][0],
                            width=self.sensor['size'][1],
                            sensor_size=self.sensor['size'],
                            instances=instances,
                            event_window=(max(int(time) - self.window, 0), int(time)),
                        )
                    )
        return samples

    @staticmethod
    def _recording(boxes: Path) -> Path:
        stem = boxes.name.removesuffix('_bbox.npy')
        for ending in ('_td.dat', '.raw', '_td.dat.h5', '.h5'):
            if (path := boxes.with_name(stem + ending)).is_file():
                return path
        raise FileNotFoundError(
            f'{boxes}: no recording {stem}_td.dat, .raw or .h5 in the same folder'
        )

    def _instances(self, boxes: np.ndarray) -> list[dict]:
        """Return the boxes of one time as instances of mmdet."""
        height, width = self.sensor['size']
        found = []
        for box in boxes:
            corners = np.array(
                [box['x'], box['y'], box['x'] + box['w'], box['y'] + box['h']], np.float64
            )
            corners = corners.clip(0, (width, height, width, height))
            sides = np.array([box['w'], box['h']], np.float64)
            large = min(sides) >= self.sensor['side']
            large &= np.hypot(*sides) >= self.sensor['diagonal']
            if large and min(corners[2:] - corners[:2]) > 0:
                found.append(
                    dict(bbox=corners.tolist(), bbox_label=int(box['class_id']), ignore_flag=0)
                )
        return found
