"""Write compact parity fixtures for the repository from a folder of full ones.

    python tools/dev/compact_fixtures.py FOLDER tests/data/parity \\
        --names spikformer_imagenet spikingformer_cifar

A full fixture contains the results of an official implementation: ``NAME.weights.safetensors`` (its
state dict), ``NAME.io.safetensors`` (input, outputs, cotangents, gradients, updated buffers) and
``NAME.json`` (constructor arguments, spike counts, repository and commit). The compact fixture,
``NAME.npz`` (LZMA) and ``NAME.json``, contains weights, inputs, outputs and cotangents, the updated
buffers of one norm, and gradients (of a few parameters if all would be large), bit for bit. The
files of a fixture without weights are copied.
"""

import argparse
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

#: keys that are removed from the description of a fixture: checks of the run that wrote it.
DROPPED = (
    'probes_eval_shape_l2_mean',
    'files',
    'robustness',
    'robustness_help',
    'mistakes',
    'noticed_mistakes',
    'grad_l2',
    'environment',
    'io_keys_help',
    'reload_check',
    'margin_meaning',
)
#: counts that are kept for every neuron layer.
COUNTS = ('layer', 'spikes_eval', 'spikes_train', 'integer_sum_eval', 'integer_sum_train')
#: largest total size of gradients in bytes at which all are kept; above it, only a few small ones.
ALL_GRADIENTS, GRADIENTS, LARGEST = 100_000, 8, 4096


def chosen(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors of a compact fixture.

    Input gradients, most other gradients, and most buffers are excluded.
    """
    kept = {
        key: value
        for key, value in tensors.items()
        if not key.startswith(('grad.', 'grad_input.', 'train_buffers.', 'train_fresh'))
    }
    gradients = [key for key in tensors if key.startswith('grad.')]
    if sum(tensors[key].nbytes for key in gradients) > ALL_GRADIENTS:
        gradients = [key for key in gradients if tensors[key].size <= LARGEST]
        gradients = gradients[:: max(len(gradients) // GRADIENTS, 1)][:GRADIENTS]
    buffers = [key for key in tensors if key.startswith('train_buffers.')][:3]
    return kept | {key: tensors[key] for key in gradients + buffers}


def compact(folder: Path, name: str, out: Path) -> int:
    """Write one fixture and return its size in bytes."""
    out.mkdir(parents=True, exist_ok=True)
    if not (folder / f'{name}.weights.safetensors').exists():
        files = [path for path in folder.iterdir() if path.name.split('.')[0] == name]
        return sum(Path(shutil.copy(path, out)).stat().st_size for path in files)
    meta = json.loads((folder / f'{name}.json').read_text())
    meta = {key: value for key, value in meta.items() if key not in DROPPED}
    meta['firing_rates'] = [
        {key: layer[key] for key in COUNTS if key in layer}
        for layer in meta.get('firing_rates', [])
    ]
    weights = load_file(folder / f'{name}.weights.safetensors')
    tensors = {f'weights/{key}': value for key, value in weights.items()}
    tensors |= {
        f'io/{key}': value
        for key, value in chosen(load_file(folder / f'{name}.io.safetensors')).items()
    }
    with zipfile.ZipFile(out / f'{name}.npz', 'w', zipfile.ZIP_LZMA) as archive:
        for key, value in tensors.items():
            entry = zipfile.ZipInfo(f'{key}.npy', (1980, 1, 1, 0, 0, 0))  # for reproducible files
            entry.compress_type = zipfile.ZIP_LZMA
            with archive.open(entry, 'w') as file:
                np.lib.format.write_array(file, np.ascontiguousarray(value).reshape(value.shape))
    (out / f'{name}.json').write_text(json.dumps(meta, separators=(',', ':')) + '\n')
    return sum((out / f'{name}{ending}').stat().st_size for ending in ('.npz', '.json'))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--names', nargs='+', required=True)
    args = parser.parse_args()
    total = 0
    for name in args.names:
        size = compact(args.folder, name, args.out)
        total += size
        print(f'{name}: {size / 1024:.0f} KiB')
    print(f'{len(args.names)} fixtures, {total / 2**20:.1f} MiB')


if __name__ == '__main__':
    main()
