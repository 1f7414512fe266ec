"""Where the parity fixtures are: the folder of full ones where there is one, else the compact ones
of the repository.

A fixture is ``NAME.weights.safetensors``, ``NAME.io.safetensors`` and ``NAME.json``.
``MMBSA_ORACLE_DIR`` names the folder of full ones, by default ``../shared/oracle`` beside the
checkout. The compact ones (``tests/data/parity``, made by ``tools/dev/compact_fixtures.py``) are
unpacked into the same form in a temporary folder. Fixtures without weights (losses, metrics,
pictures) are the same files in both.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[1]
COMPACT = ROOT / 'tests' / 'data' / 'parity'


def oracle_folder() -> Path:
    """The folder of the fixtures; compact ones are unpacked once per content."""
    full = Path(os.environ.get('MMBSA_ORACLE_DIR', ROOT.parent / 'shared' / 'oracle'))
    if full.is_dir():
        return full
    files = sorted(COMPACT.iterdir())
    key = hashlib.sha256(b''.join(f.name.encode() + f.read_bytes() for f in files)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f'mmbsa-parity-{os.getuid()}-{key}'
    if not folder.is_dir():
        partial = Path(tempfile.mkdtemp(prefix=folder.name, dir=folder.parent))
        for file in files:
            if file.suffix != '.npz':
                shutil.copy(file, partial)
                continue
            with np.load(file) as arrays:
                if not any(key.startswith('weights/') for key in arrays.files):
                    shutil.copy(file, partial)
                    continue
                for part, ending in (('weights/', 'weights'), ('io/', 'io')):
                    tensors = {
                        k.removeprefix(part): arrays[k] for k in arrays.files if k.startswith(part)
                    }
                    save_file(tensors, partial / f'{file.stem}.{ending}.safetensors')
        try:
            partial.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
    return folder
