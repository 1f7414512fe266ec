"""Spoken words as spikes of an artificial cochlea: SHD and SSC."""

from pathlib import Path

from mmbsa.datasets.classification import ClassificationDataset
from mmbsa.registry import DATASETS

#: reader -> (number of classes, files of the splits)
FILES = dict(
    SHD=(20, dict(train='shd_train.h5', test='shd_test.h5')),
    SSC=(35, dict(train='ssc_train.h5', val='ssc_valid.h5', test='ssc_test.h5')),
)


@DATASETS.register_module()
class SpikingAudioDataset(ClassificationDataset):
    """Spiking Heidelberg Digits and Spiking Speech Commands (Cramer et al., 2020): spikes of 700
    frequency channels.

    A recording is events on a sensor of 1 x 700 pixels, all of polarity 1, so the steps for events
    serve here too: frames are (T, 2, 1, 700), and ``size=(1, 140)`` sums neighbouring channels. The
    files as distributed (``shd_train.h5``, ..., unpacked) are looked for in ``data_root``, in
    ``events_h5`` (where SpikingJelly puts them) and in ``extract``.

    A sample's description has ``img_path`` (the file), ``part`` (its recording), ``gt_label`` and
    ``sensor_size``.

    Args:
        data_root: Folder of the data set.
        split: ``'train'``, ``'test'``, and for SSC also ``'val'``.
        reader: ``'SHD'`` or ``'SSC'``.
        kwargs: See ``ClassificationDataset``.

    Raises:
        FileNotFoundError: The file of the split is not there.
        ValueError: Another reader or split, or a file with another content; the message names it.
    """

    SPLITS = ('train', 'val', 'test')

    def __init__(self, data_root: str, split: str = 'train', reader: str = 'SHD', **kwargs) -> None:
        if reader not in FILES:
            raise ValueError(
                f'mmbsa.SpikingAudioDataset: reader must be one of {tuple(FILES)}, got {reader!r}'
            )
        if split not in FILES[reader][1]:
            raise ValueError(
                f'mmbsa.SpikingAudioDataset: split must be one of {tuple(FILES[reader][1])} for '
                f'{reader}, got '
                f'{split!r}'
            )
        self.reader = reader
        super().__init__(data_root=data_root, split=split, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the recordings of the split's file with their labels."""
        import h5py

        count, files = FILES[self.reader]
        root, name = Path(self.data_root), files[self.split]
        places = [folder / name for folder in (root, root / 'events_h5', root / 'extract')]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f'mmbsa.SpikingAudioDataset: {name} is neither in data_root={root} nor in its '
                'events_h5 '
                'or extract'
            )
        try:
            with h5py.File(path, 'r') as file:
                labels = [int(label) for label in file['labels']]
                spikes = len(file['spikes/units']), len(file['spikes/times'])
                names = (
                    [
                        key.decode() if isinstance(key, bytes) else str(key)
                        for key in file['extra/keys']
                    ]
                    if 'extra/keys' in file
                    else [str(label) for label in range(count)]
                )
        except (OSError, KeyError, RuntimeError) as error:
            raise ValueError(
                f'{path}: not a readable file of {self.reader} with labels, spikes/units and '
                'spikes/times '
                f'({type(error).__name__}: {error})'
            ) from error
        if (
            spikes != (len(labels), len(labels))
            or not labels
            or min(labels) < 0
            or max(labels) >= count
        ):
            raise ValueError(
                f'{path}: expected as many recordings as labels, all in 0..{count - 1}; found '
                f'{spikes} and '
                f'{len(labels)} labels in {min(labels, default=None)}..{max(labels, default=None)}'
            )
        self._metainfo.setdefault('classes', tuple(names))
        return [
            dict(img_path=str(path), part=part, gt_label=label, sensor_size=(1, 700))
            for part, label in enumerate(labels)
        ]
