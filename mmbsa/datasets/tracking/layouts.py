"""Folder layouts of tracking benchmarks: folders, lists, annotations and frame numbers."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from mmbsa.structures.track_files import read_absent, read_boxes, read_rows
from mmbsa.utils.listing import visible_files


@dataclass(frozen=True)
class Layout:
    """File names of one benchmark; ``{name}`` is the sequence.

    Attributes:
        folders: split -> folder under the root.
        boxes: possible names of a sequence's annotation file; the first that exists is used.
        frame: path of a frame in the sequence folder; ``{index}`` is its number, ``{step}`` its
            sub-frame from 1, ``{steps}`` the number of sub-frames, ``{modality}`` the modality of
            COESOT.
        endings: possible endings of the frame's file; the first that exists is used.
        first: frame number of row 0 of the annotation.
        lists: split -> possible lists of sequences under the root; the first that exists is used.
            Without a list, every folder with an annotation is used.
        indices: split -> file with row numbers of the list.
        present_is: value in ``absent.txt`` of frames that show the target.
        late_start: whether a target may appear after the first frame, where the track then starts;
            otherwise a first box without area is an error.
        more_frames: whether there may be frames after the last row of the annotation, which are
            not used; otherwise they are an error.
    """

    folders: dict[str, str]
    boxes: tuple[str, ...]
    frame: str
    endings: tuple[str, ...] = ('.png',)
    first: int = 0
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    indices: dict[str, str] = field(default_factory=dict)
    present_is: int = 0
    more_frames: bool = False
    late_start: bool = False


#: what 1 means in ``absent.txt`` -> value of frames that show the target.
PRESENT_IS = dict(absent=0, present=1)

_SPLITS = dict(train='train', test='test')
_STACKS = 'inter{steps}_stack_3008/{index:04d}_{step}'

#: layouts as in SDTrack's loaders (COESOT also as in CEUTrack), and plain folders of frames.
LAYOUTS: dict[str, Layout] = {
    'FE108': Layout(
        _SPLITS,
        ('groundtruth_rect.txt',),
        _STACKS,
        first=1,
        # the official list of training sequences is train/test.txt
        lists={
            split: (f'{split}/test.txt', f'{split}/{split}.txt', f'{split}.txt')
            for split in _SPLITS
        },
        more_frames=True,
    ),
    'VisEvent': Layout(_SPLITS, ('groundtruth.txt',), _STACKS, more_frames=True),
    'FELT': Layout(_SPLITS, ('groundtruth.txt',), _STACKS, more_frames=True),
    'COESOT': Layout(
        dict(train='train', val='train', test='test'),
        ('groundtruth.txt',),
        '{name}_{modality}/frame{index:04d}',
        ('.png', '.bmp'),
        lists=dict(train=('train/list.txt',), val=('train/list.txt',), test=('test/list.txt',)),
        indices=dict(train='train/train.txt', val='train/val.txt'),
        present_is=1,
        late_start=True,
    ),
    'COESOT-spike': Layout(
        dict(train='training_subset', test='testing_subset'),
        ('groundtruth_rect.txt', 'groundtruth.txt'),
        'spike_thresh_2.5_decay_0.25/{index:04d}',
        present_is=1,
        late_start=True,
    ),
    'frames': Layout(
        dict(train='.', test='.'),
        ('groundtruth_rect.txt', 'groundtruth.txt'),
        'img/{index:04d}',
        first=1,
    ),
}

#: the 17 columns of VisEvent's attribute files.
VISEVENT_ATTRIBUTES = tuple('CM ROT DEF FOC LI OV POC VC SV BC MB ARC FM NMO IV OE BOM'.split())


@dataclass(frozen=True)
class Annotation:
    """Annotation of a sequence.

    Attributes:
        boxes: (N, 4) x, y, w, h in pixels.
        absent: (N,) bool, true where the target is absent.
        attributes: names of the attributes of the sequence; none by default.
        file: file of the boxes; None by default.
    """

    boxes: np.ndarray
    absent: np.ndarray
    attributes: tuple[str, ...] = ()
    file: Path | None = None


def get_layout(name: str) -> Layout:
    """Return the layout of a benchmark.

    Raises:
        KeyError: the name is unknown; the message lists the layouts.
    """
    if name not in LAYOUTS:
        raise KeyError(f'layout={name!r} is unknown; there are {", ".join(LAYOUTS)}')
    return LAYOUTS[name]


def split_folder(layout: str, root: str | os.PathLike, split: str) -> Path:
    """Return the folder of a split's sequences.

    Args:
        layout: name of the layout.
        root: folder of the benchmark.
        split: name of the split.

    Raises:
        ValueError: the benchmark has no such split.
        FileNotFoundError: the folder does not exist.
    """
    rules = get_layout(layout)
    if split not in rules.folders:
        raise ValueError(f'split={split!r}: {layout} has {", ".join(rules.folders)}')
    folder = Path(root, rules.folders[split])
    if not folder.is_dir():
        raise FileNotFoundError(
            f'{folder}: the folder does not exist; expected the {split} sequences of {layout}. '
            'Check data_root'
        )
    return folder


def find_sequences(layout: str, root: str | os.PathLike, split: str) -> list[str]:
    """Return the names of a split's sequences, in the order of a list, or of the sorted folders.

    The arguments are those of :func:`split_folder`.

    Raises:
        FileNotFoundError: no folder has an annotation, or a file is missing that says which
            sequences of a shared folder belong to the split.
        ValueError: a list is empty, or a row number does not exist in it.
    """
    rules, folder = get_layout(layout), split_folder(layout, root, split)
    rows = Path(root, rules.indices[split]) if split in rules.indices else None
    if rows is not None and (
        split != 'train' or any(Path(root, file).is_file() for file in rules.indices.values())
    ):
        for file in (rows, *(Path(root, entry) for entry in rules.lists[split])):
            if not file.is_file():
                raise FileNotFoundError(
                    f'{file}: the file does not exist; split={split!r} of {layout} needs it, '
                    f'because the splits {", ".join(rules.indices)} are in the same folder'
                )
    for file in (Path(root, entry) for entry in rules.lists.get(split, ())):
        if file.is_file():
            names = read_names(file)
            if rows is None or not rows.is_file():
                return names
            chosen = read_rows(rows, 1)[:, 0].astype(int)
            if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(names):
                raise ValueError(
                    f'{rows}: row {chosen.max()} is not in {file}, which has {len(names)} names'
                )
            return [names[row] for row in chosen]
    names = sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.name[0] != '.'
        and entry.is_dir()
        and any(Path(entry.path, boxes).is_file() for boxes in rules.boxes)
    )
    if not names:
        raise FileNotFoundError(
            f'{folder}: no sequence has {" or ".join(rules.boxes)}, as {layout} has '
            f'it{_looks_like(folder, layout)}'
        )
    return names


def _looks_like(folder: Path, layout: str) -> str:
    """Return a hint that names the layouts that match the files in a folder."""
    first = next((Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()), folder)
    others = [
        name
        for name, rules in LAYOUTS.items()
        if name != layout and any((first / boxes).is_file() for boxes in rules.boxes)
    ]
    return f'. The files match the layout {" or ".join(others)}' if others else ''


def read_annotation(
    layout: str,
    root: str | os.PathLike,
    split: str,
    name: str,
    toolkit: str | os.PathLike | None = None,
    absent: str | None = None,
) -> Annotation:
    """Read the annotation of a sequence.

    Args:
        layout, root, split: layout name, folder of the benchmark and split name.
        name: name of the sequence.
        toolkit: folder of an evaluation toolkit with ``absent/NAME.txt`` (1 means absent),
            ``att/NAME.txt`` (0 in the rows of attributes that do not apply), and optionally
            ``gt_rect/NAME.txt``; these files have priority over those of the benchmark. None by
            default.
        absent: what 1 means in ``absent.txt`` or ``absent/NAME.txt``, ``'absent'`` or
            ``'present'``; None (default) is the meaning in the layout, or ``'absent'`` in a
            toolkit.

    Raises:
        FileNotFoundError: the sequence has no annotation.
        ValueError: files do not match each other.

    Warns:
        UserWarning: ``absent`` is None, and more than half of the frames would be absent.
    """
    rules, folder = get_layout(layout), split_folder(layout, root, split) / name
    toolkit = None if toolkit is None else Path(toolkit)
    if toolkit is not None and not toolkit.is_dir():
        raise FileNotFoundError(
            f'toolkit={str(toolkit)!r}: the folder does not exist; expected absent/ and att/ of '
            'the evaluation toolkit. Omit toolkit to evaluate without its flags of absence'
        )
    candidates = [] if toolkit is None else [toolkit / 'gt_rect' / f'{name}.txt']
    candidates += [folder / boxes for boxes in rules.boxes]
    file = next((file for file in candidates if file.is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f'{folder}: there is no {" or ".join(rules.boxes)}, which {layout} requires'
            f'{_looks_like(folder.parent, layout)}'
        )
    boxes = read_boxes(file)
    kit_flags = None if toolkit is None else toolkit / 'absent' / f'{name}.txt'
    if kit_flags is not None and kit_flags.is_file():
        flags = _read_flags(kit_flags, file, len(boxes), absent)
    else:
        flags = _read_flags(folder / 'absent.txt', file, len(boxes), absent, rules.present_is)
    attributes = () if toolkit is None else _attributes(toolkit / 'att', name)
    return Annotation(boxes, flags, attributes, file)


def _read_flags(
    file: Path, boxes: Path, length: int, absent: str | None, present_is: int = 0
) -> np.ndarray:
    """Read which frames lack the target, (length,) bool; all false without a file.

    Args:
        file: ``absent.txt``, or ``absent/NAME.txt`` of a toolkit.
        boxes: file of the boxes, for messages.
        length: number of boxes.
        absent: what 1 means in the file; None uses ``present_is``.
        present_is: value of frames that show the target; default 0, as in a toolkit.
    """
    if not file.is_file():
        return np.zeros(length, bool)
    flags = read_absent(file, present_is if absent is None else PRESENT_IS[absent])
    if len(flags) != length:
        raise ValueError(f'{file}: {len(flags)} rows, but {boxes} has {length}')
    if absent is None and flags.mean() > 0.5:
        here, other = sorted(PRESENT_IS, key=lambda word: PRESENT_IS[word] != present_is)
        warnings.warn(
            f'{file}: the target would be absent in {flags.sum()} of {length} frames, because 1 is '
            f"read as {here}; set absent='{other}' if 1 means {other}, or absent='{here}' if the "
            'flags are right',
            stacklevel=3,
        )
    return flags


def toolkit_annotations(
    root: str | os.PathLike, absent: str | None = None
) -> dict[str, Annotation]:
    """Read all annotations of an evaluation toolkit.

    It reads ``gt_rect/NAME.txt``, and ``absent`` and ``att`` if they exist.

    Args:
        root: folder of the toolkit.
        absent: what 1 means in the files of ``absent``, ``'absent'`` or ``'present'``; None
            (default) is ``'absent'``, with a warning if more than half of a sequence is absent.

    Raises:
        FileNotFoundError: ``gt_rect`` has no text files.
        ValueError: files do not match each other.
    """
    root, found = Path(root), {}
    for file in visible_files(root / 'gt_rect', ['.txt']):
        boxes = read_boxes(file)
        flags = _read_flags(root / 'absent' / file.name, file, len(boxes), absent)
        found[file.stem] = Annotation(boxes, flags, _attributes(root / 'att', file.stem), file)
    if not found:
        raise FileNotFoundError(
            f'{root / "gt_rect"}: there is no annotation of a toolkit (gt_rect/SEQ.txt); set the '
            'layout of a benchmark'
        )
    return found


def _attributes(folder: Path, name: str) -> tuple[str, ...]:
    for file in (folder / f'{name}.txt', folder / f'{name}_attribute.txt'):
        if file.is_file():
            text = file.read_text(encoding='utf-8', errors='replace')
            try:
                flags = [float(word) for word in text.replace(',', ' ').split()]
            except ValueError:
                raise ValueError(
                    f'{file}: expected a 0 or 1 per attribute, found {text.strip()[:80]!r}'
                ) from None
            known = VISEVENT_ATTRIBUTES if len(flags) == len(VISEVENT_ATTRIBUTES) else None
            return tuple(
                known[i] if known else f'attribute{i + 1}'
                for i, flag in enumerate(flags)
                if flag > 0
            )
    return ()


@dataclass(frozen=True)
class FrameFiles:
    """Files of the frames of a sequence.

    Attributes:
        layout: name of the benchmark's layout.
        folder: folder of the sequence.
        steps: number of sub-frames T per frame.
        modality: ``'dvs'`` (event frames) or ``'aps'`` (intensity frames); for COESOT only.
        size: required (height, width) of the frames in pixels; None accepts any.
    """

    layout: str
    folder: str
    steps: int = 1
    modality: str = 'dvs'
    size: tuple[int, int] | None = None

    def path(self, row: int, step: int = 1) -> Path:
        """Return the file of the frame of an annotation row; the first ending if no file exists.

        Args:
            row: row of the annotation, from 0.
            step: number of the sub-frame, from 1 (default).
        """
        files = [Path(self.folder, name) for name in self._names(row, step)]
        return next((file for file in files if file.is_file()), files[0])

    def _names(self, row: int, step: int = 1) -> list[str]:
        """Return the possible names of a frame in the folder of the sequence."""
        rules = get_layout(self.layout)
        stem = rules.frame.format(
            name=os.path.basename(self.folder),
            index=row + rules.first,
            step=step,
            steps=self.steps,
            modality=self.modality,
        )
        return [f'{stem}{ending}' for ending in rules.endings]

    def read(self, row: int) -> np.ndarray:
        """Read a frame (T, H, W, 3) uint8; the channels are those of the file in RGB order.

        The first sub-frame replaces a sub-frame that is missing or unreadable, as in the official
        loader.

        Args:
            row: row of the annotation, from 0.

        Raises:
            FileNotFoundError: the first sub-frame is missing.
            ValueError: the file is not a picture, or it has another size.
        """
        first = _read_image(self.path(row))
        if self.size is not None and first.shape[:2] != self.size:
            raise ValueError(
                f'{self.path(row)}: the frame is {first.shape[0]} x {first.shape[1]} (height x '
                f'width), expected {self.size} as in the first frame of the sequence'
            )
        frames = [first]
        for step in range(2, self.steps + 1):
            file = self.path(row, step)
            image = _read_image(file, strict=False) if file != self.path(row) else None
            frames.append(first if image is None or image.shape != first.shape else image)
        return np.stack(frames)

    def check(self, length: int) -> tuple[int, int]:
        """Check that all of ``length`` frames exist, and return (height, width) of the first.

        Raises:
            FileNotFoundError: a frame is missing.
            ValueError: there is a frame after the last row, and the layout does not allow it.
        """
        folder = self.path(0).parent
        there = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()

        def exists(row: int) -> bool:
            return any(os.path.basename(name) in there for name in self._names(row))

        missing = [row for row in range(length) if not exists(row)]
        if missing:
            others = f'; {len(missing) - 1} other frames too' if len(missing) > 1 else ''
            raise FileNotFoundError(
                f'{self.path(missing[0])}: the frame of annotation row {missing[0]} (from 0) of '
                f'{length} is missing{others}{self._hint()}'
            )
        if exists(length) and not get_layout(self.layout).more_frames:
            raise ValueError(
                f'{self.path(length)}: the annotation has {length} rows, so there is no row for '
                f'this frame; {self.layout} needs one row per frame'
            )
        return self.read(0).shape[1:3]

    def _hint(self) -> str:
        folder = self.path(0).parent
        if not folder.is_dir():
            there = sorted(entry.name for entry in os.scandir(self.folder) if entry.is_dir())[:6]
            return f'; there is no folder {folder.name}, only {there}'
        files = sorted(os.listdir(folder))
        there = f'{files[0]} .. {files[-1]}' if files else 'no file'
        return f'; the folder has {len(files)} files, {there}'


def _read_image(file: Path, strict: bool = True) -> np.ndarray | None:
    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is not None:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if not strict:
        return None
    if not file.is_file():
        raise FileNotFoundError(f'{file}: the frame does not exist')
    raise ValueError(f'{file}: OpenCV cannot read this file as a picture')


def read_names(file: str | os.PathLike) -> list[str]:
    """Read the names of sequences, one per line.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has no names.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(
            f'{file}: the file does not exist; expected a file with one sequence name per line'
        )
    names = file.read_text(encoding='utf-8', errors='replace').split()
    if not names:
        raise ValueError(f'{file}: the file is empty; expected one sequence name per line')
    return names


def listed(
    names: Sequence[str] | str | None, layout: str, root: str | os.PathLike, split: str
) -> list[str]:
    """Return the sequences of a config.

    Args:
        names: names, a file with one name per line, or None for all sequences of the split.
        layout, root, split: layout name, folder of the benchmark and split name.
    """
    if names is None:
        return find_sequences(layout, root, split)
    if isinstance(names, str):
        return read_names(names)
    if not names:
        raise ValueError('sequences is empty')
    return list(names)
