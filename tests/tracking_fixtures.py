"""Fixtures of the tracking tests: data computed by the official code, in a folder beside the
checkout.

``MMBSA_ORACLE_DIR`` and ``MMBSA_SHARED`` name the folders; the defaults lie beside the checkout.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from parity_fixtures import oracle_folder
from safetensors.torch import load_file

SHARED = Path(os.environ.get('MMBSA_SHARED', Path(__file__).resolve().parents[2] / 'shared'))
ORACLE = oracle_folder()


def find(kind: str, ending: str) -> list:
    """Fixtures whose name starts with ``kind`` as parameters of a test; one that skips if there are
    none.
    """
    paths = sorted(ORACLE.glob(f'{kind}*{ending}'))
    if not paths:
        reason = f'no fixture {kind}*{ending} in {ORACLE} (set MMBSA_ORACLE_DIR)'
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id='none')]
    return [pytest.param(path, id=path.name.removesuffix(ending)) for path in paths]


def load(path: Path):
    """(json, tensors) of a fixture: arrays of an .npz, tensors of a .safetensors."""
    meta = json.loads(path.with_name(path.name.split('.')[0] + '.json').read_text())
    tensors = dict(np.load(path)) if path.suffix == '.npz' else load_file(path)
    return meta, tensors
