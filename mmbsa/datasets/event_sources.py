"""Event data sets known by name: sensors, classes, splits and folders."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from mmbsa.datasets.event_files import recordings
from mmbsa.datasets.readers import spikingjelly_readers

CIFAR10 = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
GESTURES = (
    'hand clapping',
    'right hand wave',
    'left hand wave',
    'right arm clockwise',
    'right arm counter-clockwise',
    'left arm clockwise',
    'left arm counter-clockwise',
    'arm roll',
    'air drums',
    'air guitar',
    'other',
)
BULLYING = (
    'handshake',
    'slapping',
    'punching',
    'walking',
    'finger guess',
    'strangling',
    'greeting',
    'pushing',
    'hair grabs',
    'kicking',
)
#: folders next to the class folders that are not classes
SERVICE = ('download', 'extract', 'events_np', 'frames', '__MACOSX')


@dataclass(frozen=True)
class EventSource:
    """Description of a data set of recordings in class folders.

    Args:
        size: (height, width) of the sensor in pixels.
        num_classes: number of class folders.
        classes: class folder -> class name, if the folders are fixed.
        splits: split -> possible names of its folder; empty if the data set has no split folders.
        train_share: share of each class, in the order of the file names, that is the train split,
            for data sets without split folders.
        inner: folder with the class (or split) folders of the distributed archive, under the root
            or under ``extract``.
        optional: files of the distribution that are not needed for reading.
        convert: whether the content of the archives can be read only after SpikingJelly's
            conversion.
        layout: address layout of its AEDAT files, see ``mmbsa.events.formats.aedat.LAYOUTS``.
        archives: whether SpikingJelly has a class of this name that unpacks the archives.
    """

    size: tuple[int, int]
    num_classes: int
    classes: dict[str, str] = field(default_factory=dict)
    splits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    train_share: float | None = None
    inner: str = ''
    optional: tuple[str, ...] = ()
    convert: bool = False
    layout: str | None = None
    archives: bool = True


_TWO = dict(train=('train', 'Train'), test=('test', 'Test'))
#: name of SpikingJelly's class (``archives=False``: no such class) -> description. The train shares
#: of HMDB51DVS and UCF101DVS are chosen here: their authors publish no list of files.
SOURCES = dict(
    ASLDVS=EventSource((180, 240), 24, train_share=0.8),
    Bullying10kClassification=EventSource(
        (260, 346), 10, {str(i): name for i, name in enumerate(BULLYING)}, _TWO
    ),
    CIFAR10DVS=EventSource(
        (128, 128), 10, {name: name for name in CIFAR10}, train_share=0.9, layout='cifar10-dvs'
    ),
    DVS128Gesture=EventSource(
        (128, 128), 11, {str(i): name for i, name in enumerate(GESTURES)}, _TWO
    ),
    DVSLip=EventSource((128, 128), 100, splits=_TWO, inner='DVS-Lip'),
    ESImageNet=EventSource((256, 256), 1000, splits=_TWO),
    HARDVS=EventSource(
        (260, 346), 300, splits=dict(train=('train',), val=('val',), test=('test',))
    ),
    HMDB51DVS=EventSource((180, 240), 51, train_share=0.8, archives=False),
    NAVGestureSit=EventSource((240, 304), 6, train_share=0.8, convert=True),
    NAVGestureWalk=EventSource((240, 304), 6, train_share=0.8, convert=True),
    NCARS=EventSource(
        (100, 120),
        2,
        dict(background='background', cars='cars'),
        dict(train=('n-cars_train', 'train'), test=('n-cars_test', 'test')),
        archives=False,
    ),
    NCaltech101=EventSource(
        (180, 240),
        101,
        train_share=0.9,
        inner='Caltech101',
        optional=('Caltech101_annotations.zip',),
    ),
    NMNIST=EventSource((34, 34), 10, {str(i): str(i) for i in range(10)}, _TWO),
    UCF101DVS=EventSource((180, 240), 101, train_share=0.8, archives=False),
)


def find_folder(source: EventSource, root: Path, split: str) -> Path | None:
    """Return the folder that contains the class folders of a split, or None.

    It is searched in ``events_np`` (the folder of SpikingJelly's conversion), in ``root`` and in
    ``extract``, in the distributed form.

    Args:
        source: description of the data set.
        root: folder of the data set.
        split: name of the split.
    """
    extract = root / 'extract'
    distributed = (root / source.inner, root, extract / source.inner, extract)
    distributed = () if source.convert else distributed
    for base in (root / 'events_np', *distributed):
        for name in source.splits.get(split, ('',)):
            folder = base / name
            if folder.is_dir() and any(_holds_recordings(child) for child in folder.iterdir()):
                return folder
    return None


def _holds_recordings(folder: Path) -> bool:
    return (
        folder.is_dir()
        and folder.name not in SERVICE
        and folder.name[0] != '.'
        and bool(recordings(folder))
    )


def prepare(name: str, root: Path, split: str) -> None:
    """Unpack the archives in ``root/download`` and convert their content if necessary.

    SpikingJelly's class ``name`` does both steps. Each step writes to a temporary folder, which
    gets its final name only when it is complete. Other processes wait.

    Args:
        name: name of the data set.
        root: folder of the data set.
        split: name of the split.

    Raises:
        FileNotFoundError: an archive is missing; the message names its source. Nothing is
            downloaded.
        ValueError: an archive has an unexpected MD5 sum.
    """
    from torchvision.datasets.utils import check_integrity

    reader, source = getattr(spikingjelly_readers(), name), SOURCES[name]
    root = root.resolve()  # SpikingJelly creates links, which need absolute paths
    download, extract, raw = root / 'download', root / 'extract', root / 'events_np'
    with _lock(root / '.prepare.lock'):
        if find_folder(source, root, split) or raw.exists():
            return
        if not extract.exists():
            for file, url, md5 in reader.resource_url_md5():
                archive = download / file
                listing = archive.suffix in ('.txt', '.csv')
                if file in source.optional or listing and not archive.exists():
                    continue
                if not archive.is_file():
                    raise FileNotFoundError(f'{archive} is missing; get it from {url}')
                if not check_integrity(archive, md5):
                    raise ValueError(
                        f'{archive}: expected the MD5 sum {md5}; damaged, or another version'
                    )
            _fill(extract, lambda folder: reader.extract_downloaded_files(download, folder))
        if find_folder(source, root, split) is None:
            _fill(raw, lambda folder: reader.create_raw_from_extracted(extract, folder))


def _fill(folder: Path, work) -> None:
    for left_over in folder.parent.glob(f'.{folder.name}.*.tmp'):
        shutil.rmtree(left_over)
    draft = folder.with_name(f'.{folder.name}.{os.getpid()}.tmp')
    draft.mkdir(parents=True)
    work(draft)
    draft.rename(folder)


class _lock:
    """Hold an exclusive lock on a file; the lock ends when the process is killed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.path, 'w')
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *error) -> None:
        self.file.close()
