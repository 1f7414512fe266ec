"""Give damaged files and configs to all readers, and classify the results.

    python tools/dev/campaign_inputs.py --count 1000 --seed 0

Checkpoints, photos, label maps, event recordings, configs and lists of annotations are changed:
bytes are flipped, truncated or replaced by noise, fields swapped, sizes made huge, types changed,
keys misspelt, code added to pickles. Each case must end within 60 s in a result, or in one error
whose text names the file or the key. A case fails if a process crashes, hangs, needs more than
4 GiB, writes a file, or runs code of the input.
"""

import argparse
import io
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from damaged_bytes import damage  # noqa: E402
from damaged_texts import Texts  # noqa: E402
from forked import run_cases  # noqa: E402

KINDS = (
    'checkpoint',
    'photo',
    'labels',
    'recording',
    'config',
    'config_file',
    'annotations',
)
ARCH = dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2)
GOOD = ('result', 'named')


class Code:
    """An object that creates a folder if it is unpickled without restrictions."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        import os

        return os.mkdir, (self.marker,)


def checkpoint_bytes(rng: np.random.Generator, weights: dict, marker: Path) -> bytes:
    """Return a damaged checkpoint, or an undamaged one with wrong content."""
    state, kind = dict(weights), rng.integers(8)
    names = sorted(state)
    name = names[rng.integers(len(names))]
    if kind == 0:
        state[name] = Code(marker)
    elif kind == 1:
        state[name] = [None, 7, 'text', [], state[name].numpy(), {}][rng.integers(5)]
    elif kind == 2:
        state[name] = torch.zeros(1).expand(1 << 12, 1 << 20)[: int(rng.integers(1, 9))]
    elif kind == 3:
        state[name] = state[name].to(
            [torch.int8, torch.complex64, torch.float64, torch.bool][rng.integers(4)]
        )
    elif kind == 4:
        other = names[rng.integers(len(names))]
        state[name], state[other] = state[other], state[name]
    elif kind == 5:
        state = {f'{"abc"[rng.integers(3)]}.{key}': value for key, value in state.items()}
    wrapped = [
        state,
        dict(state_dict=state),
        dict(model=state, extra=Code(marker)),
        dict(state_dict=[state]),
        [state],
        dict(net=dict(state_dict=state)),
    ][rng.integers(6)]
    buffer = io.BytesIO()
    torch.save(wrapped, buffer, _use_new_zipfile_serialization=bool(rng.random() < 0.8))
    return damage(buffer.getvalue(), rng) if kind >= 6 else buffer.getvalue()


def recording_bytes(rng: np.random.Generator, marker: Path) -> tuple[str, bytes]:
    """Return a damaged recording: .npz, .npy, .bin, .aedat or .dat."""
    count, buffer = 200, io.BytesIO()
    columns = dict(
        x=rng.integers(0, 24, count),
        y=rng.integers(0, 20, count),
        t=np.sort(rng.integers(0, 9000, count)),
        p=rng.integers(0, 2, count),
    )
    kind = rng.integers(8)
    if kind == 0:
        columns['t'] = np.array([Code(marker)] * count, object)
    elif kind == 1:
        columns[['x', 'y', 't', 'p'][rng.integers(4)]] = [
            np.zeros(3),
            np.full(count, np.nan),
            np.full(count, 'a'),
            np.full(count, -5),
            np.zeros((2, 3)),
        ][rng.integers(5)]
    elif kind == 2:
        del columns[['x', 'y', 't', 'p'][rng.integers(4)]]
    np.savez(buffer, **columns)
    if kind == 3:  # an array whose header states 2 ** 50 numbers
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            head, dict(descr='<i8', fortran_order=False, shape=(1 << 50,))
        )
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, 'w') as archive:
            for name in 'xytp':
                archive.writestr(f'{name}.npy', head.getvalue())
    if kind < 5:
        return '.npz', buffer.getvalue() if kind < 4 else damage(buffer.getvalue(), rng)
    ending = ['.bin', '.aedat', '.dat', '.npy'][rng.integers(4)]
    return ending, damage(rng.bytes(400), rng)


class Campaign:
    """Numbered cases; each writes its input to ``folder`` from a seed and gives it to a reader.

    Args:
        folder: an empty folder.
        seed: seed of all cases; 0 by default.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        from mmcv.transforms import LoadImageFromFile
        from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs

        from mmbsa.datasets.transforms import LoadEventFrames
        from mmbsa.engine.data_guard_hook import GuardedPipeline
        from mmbsa.registry import MODELS

        self.folder, self.seed, self.marker = folder, seed, folder / 'code_ran'
        self.build = lambda path: MODELS.build(
            dict(
                type='mmbsa.ESpikeFormer',
                arch=ARCH,
                init_cfg=dict(type='Pretrained', checkpoint=path),
            )
        )
        self.weights = MODELS.build(dict(type='mmbsa.ESpikeFormer', arch=ARCH)).state_dict()
        self.photos = GuardedPipeline(
            [LoadImageFromFile(), LoadAnnotations(), PackSegInputs()], 3, [255], 'num_classes'
        )
        self.events = GuardedPipeline([LoadEventFrames(num_frames=4)], None, [], '')
        rng = np.random.default_rng(0)
        encode = {'.jpg': rng.integers(0, 256, (30, 40, 3)), '.png': rng.integers(0, 3, (30, 40))}
        self.whole = {
            end: cv2.imencode(end, image.astype(np.uint8))[1].tobytes()
            for end, image in encode.items()
        }
        (self.folder / 'whole').mkdir()
        for end, content in self.whole.items():
            (self.folder / 'whole' / f'a{end}').write_bytes(content)
        self.texts = Texts(self.folder / 'whole')

    def case(self, index: int) -> tuple[str, str, str]:
        """Run a case.

        Returns:
            (description, 'result' | 'named' | 'unnamed' | 'code' | 'files', error text).
        """
        rng = np.random.default_rng((self.seed, index))
        kind = KINDS[index % len(KINDS)]
        make = getattr(self, f'_{kind}', None) or getattr(self.texts, kind)
        words, run = make(rng, self.folder / f'case_{index}')
        before, text = set(self.folder.iterdir()), ''
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                run()
            outcome = 'result'
        except (Exception, SystemExit) as error:
            text = f'{type(error).__name__}: {error}'
            outcome = 'named' if any(word in text for word in words) else 'unnamed'
        if self.marker.exists():
            outcome = 'code'
        elif set(self.folder.iterdir()) != before:
            outcome = 'files'
        for file in self.folder.glob(f'case_{index}*'):
            file.unlink()
        return kind, outcome, text

    def _checkpoint(self, rng: np.random.Generator, stem: Path) -> tuple[tuple[str, ...], Callable]:
        path = stem.with_suffix('.pth')
        path.write_bytes(checkpoint_bytes(rng, self.weights, self.marker))
        return (path.name,), lambda: self.build(str(path)).init_weights()

    def _pair(self, stem: Path, **content: bytes) -> dict:
        data = dict(seg_fields=[], reduce_zero_label=False, label_map=None)
        for key, ending in (('img_path', '.jpg'), ('seg_map_path', '.png')):
            path = stem.with_suffix(ending)
            path.write_bytes(content.get(key, self.whole[ending]))
            data[key] = str(path)
        return data

    def _photo(self, rng: np.random.Generator, stem: Path) -> tuple[tuple[str, ...], Callable]:
        data = self._pair(stem, img_path=damage(self.whole['.jpg'], rng))
        return (stem.with_suffix('.jpg').name,), lambda: self.photos(data)

    def _labels(self, rng: np.random.Generator, stem: Path) -> tuple[tuple[str, ...], Callable]:
        data = self._pair(stem, seg_map_path=damage(self.whole['.png'], rng))
        return (stem.with_suffix('.png').name,), lambda: self.photos(data)

    def _recording(self, rng: np.random.Generator, stem: Path) -> tuple[tuple[str, ...], Callable]:
        ending, content = recording_bytes(rng, self.marker)
        path = stem.with_suffix(ending)
        path.write_bytes(content)
        return (path.name,), lambda: self.events(dict(img_path=str(path), sensor_size=(20, 24)))


def run(count: int, seed: int = 0) -> tuple[Counter, list[tuple]]:
    """Run ``count`` cases.

    Returns:
        (description, outcome) -> number, and the failures: (index, description, outcome, text).
    """
    with tempfile.TemporaryDirectory() as folder:
        torch.set_num_threads(1)
        results = run_cases(Campaign(Path(folder), seed).case, count)
    results = [result if len(result) == 3 else ('process', *result) for result in results]
    bad = [(index, *result) for index, result in enumerate(results) if result[1] not in GOOD]
    return Counter(result[:2] for result in results), bad


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--count', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    counts, bad = run(args.count, args.seed)
    for (what, outcome), number in sorted(counts.items()):
        print(f'{what:<12}{outcome:<10}{number:>6}')
    for index, *rest in bad:
        print(f'case {index}: {" ".join(map(str, rest))[:300]}')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
