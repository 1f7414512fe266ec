"""Spoken words as spikes of a cochlea model: SHD, SSC and N-TIDIGITS."""

from pathlib import Path
from typing import Any

from mmbsa.datasets.classification import ClassificationDataset
from mmbsa.registry import DATASETS

#: reader -> (number of classes, files of the splits, frequency channels)
FILES = dict(
    SHD=(20, dict(train='shd_train.h5', test='shd_test.h5'), 700),
    SSC=(35, dict(train='ssc_train.h5', val='ssc_valid.h5', test='ssc_test.h5'), 700),
    NTIDIGITS=(11, dict(train='n-tidigits.hdf5', test='n-tidigits.hdf5'), 64),
)
#: last letter of the name of an N-TIDIGITS recording of one digit -> class; "oh" is the last class.
DIGITS = dict({'z': 0, 'o': 10}, **{str(digit): digit for digit in range(1, 10)})
DIGIT_NAMES = (
    *('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'),
    'oh',
)


@DATASETS.register_module()
class SpikingAudioDataset(ClassificationDataset):
    """Spiking Heidelberg Digits, Spiking Speech Commands (Cramer et al., 2020) and N-TIDIGITS18.

    N-TIDIGITS18 is by Anumula et al., 2018. The data are spikes of 700 or 64 frequency channels.

    A recording has events on a sensor of 1 x 700 (1 x 64) pixels, all of polarity 1, so pipeline
    steps for events apply: frames are (T, 2, 1, 700), and ``size=(1, 140)`` sums neighbouring
    channels. The unpacked files (``shd_train.h5``, ...) are searched in ``data_root``, in
    ``events_h5`` (the folder of SpikingJelly) and in ``extract``. N-TIDIGITS uses the recordings of
    one digit; those of several digits have no class.

    A sample has ``img_path`` (the file), ``part`` (number of its recording), ``gt_label`` and
    ``sensor_size``.

    Args:
        data_root: folder of the data set.
        split: ``'train'`` (default), ``'test'``, and for SSC also ``'val'``.
        reader: ``'SHD'`` (default), ``'SSC'`` or ``'NTIDIGITS'``.
        kwargs: arguments of :class:`ClassificationDataset`.

    Raises:
        FileNotFoundError: the file of the split is missing.
        ValueError: the reader or split is unknown, or a file has unexpected content; the message
            names it.
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
                f'{reader}, got {split!r}'
            )
        self.reader = reader
        super().__init__(data_root=data_root, split=split, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the recordings in the file of the split with their labels."""
        count, files, channels = FILES[self.reader]
        root, name = Path(self.data_root), files[self.split]
        folders = (root, root / 'events_h5', root / 'extract')
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f'mmbsa.SpikingAudioDataset: {name} is neither in data_root={root} nor in its '
                'events_h5 or extract'
            )
        read = self._read_digits if self.reader == 'NTIDIGITS' else self._read_words
        parts, labels, names = read(path, count)
        self._metainfo.setdefault('classes', names)
        return [
            dict(img_path=str(path), part=part, gt_label=label, sensor_size=(1, channels))
            for part, label in zip(parts, labels)
        ]

    def _read_words(self, path: Path, count: int) -> tuple[list[Any], list[int], tuple[str, ...]]:
        """Return recordings, labels and class names of a file of SHD or SSC."""
        import h5py

        try:
            with h5py.File(path, 'r') as file:
                labels = [int(label) for label in file['labels']]
                spikes = len(file['spikes/units']), len(file['spikes/times'])
                keys = file['extra/keys'][()] if 'extra/keys' in file else range(count)
        except (OSError, KeyError, RuntimeError) as error:
            raise ValueError(
                f'{path}: not a readable file of {self.reader} with labels, spikes/units and '
                f'spikes/times ({type(error).__name__}: {error})'
            ) from error
        whole = bool(labels) and spikes == (len(labels), len(labels))
        if not whole or min(labels) < 0 or max(labels) >= count:
            raise ValueError(
                f'{path}: expected as many recordings as labels, all in 0..{count - 1}; found '
                f'{spikes} and {len(labels)} labels in '
                f'{min(labels, default=None)}..{max(labels, default=None)}'
            )
        names = tuple(key.decode() if isinstance(key, bytes) else str(key) for key in keys)
        return list(range(len(labels))), labels, names

    def _read_digits(self, path: Path, count: int) -> tuple[list[Any], list[int], tuple[str, ...]]:
        """Return recordings, labels and class names of the file of N-TIDIGITS."""
        import h5py

        try:
            with h5py.File(path, 'r') as file:
                labels = [bytes(name).decode() for name in file[f'{self.split}_labels'][()]]
                groups = (file[f'{self.split}_{kind}'] for kind in ('addresses', 'timestamps'))
                missing = {name for group in groups for name in labels if name not in group}
        except (OSError, KeyError, RuntimeError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(
                f'{path}: not a readable file of {self.reader} with {self.split}_labels, '
                f'{self.split}_addresses and {self.split}_timestamps '
                f'({type(error).__name__}: {error})'
            ) from error
        single = [name for name in labels if name.rpartition('-')[2] in DIGITS]
        if missing or not single:
            raise ValueError(
                f'{path}: expected recordings of one digit, named <speaker>-<..>-<digit>, with '
                f'addresses and timestamps; found {len(single)} of {len(labels)}, and '
                f'{sorted(missing)[:3]} without spikes'
            )
        digits = [DIGITS[name.rpartition('-')[2]] for name in single]
        return [f'{self.split}/{name}' for name in single], digits, DIGIT_NAMES
