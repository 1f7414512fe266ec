"""Report of the environment: versions of packages, devices, kernels, and missing packages."""

import importlib.util
import os
import platform
from importlib import metadata

import torch

from mmbsa.version import BOUNDS, __version__, installed_version, out_of_bounds

#: import names of optional packages -> the functions that need them.
OPTIONAL = {
    'mmcv': 'every config',
    'mmengine': 'every config',
    'mmseg': 'segmentation',
    'mmpretrain': 'classification, tracking and point clouds',
    'mmdet': 'detection',
    'timm': 'models by timm name, augmentation, LAMB',
    'triton': 'kernels on NVIDIA GPUs',
    'h5py': 'HDF5 recordings',
    'lz4': 'AEDAT 4 recordings',
    'onnx': 'ONNX export',
    'onnxruntime': 'running ONNX files',
    'nir': 'NIR export',
    'snntorch': 'neurons of snnTorch',
}


def packages() -> dict[str, str]:
    """Return import name -> version of the installed packages.

    A remark follows if the version is outside of the range that mmbsa was tested with.
    """
    found = {'mmbsa': __version__, 'Python': platform.python_version()}
    for name, (_, low, high) in BOUNDS.items():
        if entry := installed_version(name):
            remark = f' (tried: >= {low}, < {high})' if out_of_bounds(name) else ''
            version = torch.__version__ if name == 'torch' else entry[1]  # with the build's CUDA
            found[name] = f'{version} from {entry[0]}{remark}'
    for name in OPTIONAL:
        if name not in found and importlib.util.find_spec(name) is not None:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                found[name] = 'installed, version unknown'
    return found


def missing_packages() -> dict[str, str]:
    """Return import name of each missing optional package -> the functions that need it."""
    return {
        name: purpose
        for name, purpose in OPTIONAL.items()
        if importlib.util.find_spec(name) is None
    }


def kernels() -> dict[str, dict[str, str]]:
    """Return op -> implementation, preferred first -> ``'available'`` or the reason why not.

    This call compiles the C++ kernels if they are not yet compiled.
    """
    import mmbsa.ops  # noqa: F401  (registers the ops)
    from mmbsa.ops.dispatch import reasons

    return {
        op: {name: reason or 'available' for name, reason in table.items()}
        for op, table in reasons().items()
    }


def devices() -> list[str]:
    """Return one line for the processor and one for every GPU."""
    capability = torch.backends.cpu.get_cpu_capability()
    lines = [f'CPU: {os.cpu_count()} cores, {capability}, {torch.get_num_threads()} threads']
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        lines.append(f'GPU {index}: {properties.name}, {memory:.0f} GiB')
    return lines if torch.cuda.is_available() else [*lines, 'GPU: none that torch can use']


def mmcv_ops() -> str:
    """Return a sentence on the source of mmcv's ops."""
    if importlib.util.find_spec('mmcv') is None:
        return 'mmcv is not installed'
    spec = importlib.util.find_spec('mmcv._ext')
    if spec is not None and spec.origin and not spec.origin.endswith('.py'):
        return 'compiled'
    return 'not compiled; torchvision replaces those that detectors need'


def report() -> str:
    """Return the whole report as text."""
    sections = {
        'Packages': [f'{name} {version}' for name, version in packages().items()],
        'Devices': [platform.platform(), *devices()],
        'Kernels': [
            f'{op}, {name}: {state}'
            for op, table in kernels().items()
            for name, state in table.items()
        ],
        "mmcv's ops": [mmcv_ops()],
        'Not installed': [
            f'{name} (for {purpose})' for name, purpose in missing_packages().items()
        ],
        'Environment variables': [
            f'{name}={os.environ[name]}' for name in sorted(os.environ) if name.startswith('MMBSA_')
        ],
    }
    return '\n'.join(
        f'{title}\n' + '\n'.join(f'  {line}' for line in lines or ['none'])
        for title, lines in sections.items()
    )
