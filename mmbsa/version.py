"""The version of mmbsa and the versions of its neighbours it was tried with."""

import warnings
from importlib import metadata

__version__ = '0.2.0'

#: import name -> (distributions that provide it, lowest tried version, first untried version).
BOUNDS = {
    'torch': (('torch',), '2.6', '2.16'),
    'spikingjelly': (('spikingjelly',), '2.0.0', '3'),
    'mmengine': (('onedl-mmengine', 'mmengine'), '0.10.7', '0.11'),
    'mmcv': (('onedl-mmcv', 'mmcv', 'mmcv-lite'), '2.1.0', '2.4'),
    'mmseg': (('onedl-mmsegmentation', 'mmsegmentation'), '1.2.2', '1.5'),
    'mmpretrain': (('onedl-mmpretrain', 'mmpretrain'), '1.2.0', '1.4'),
    'mmdet': (('onedl-mmdetection', 'mmdet'), '3.3.0', '3.6'),
}


def _key(version: str) -> tuple[int, ...]:
    parts = []
    for part in version.split('+')[0].split('.'):
        digits = ''.join(ch for ch in part if ch.isdigit())
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)


def installed_version(name: str) -> tuple[str, str] | None:
    """Return ``(distribution, version)`` of an import name of ``BOUNDS``, or None if it is not
    installed."""
    for dist in BOUNDS[name][0]:
        try:
            return dist, metadata.version(dist)
        except metadata.PackageNotFoundError:
            continue
    return None


def out_of_bounds(name: str) -> bool:
    """Whether an import name of ``BOUNDS`` is installed in a version that mmbsa was not tried
    with."""
    _, low, high = BOUNDS[name]
    found = installed_version(name)
    return found is not None and not _key(low) <= _key(found[1]) < _key(high)


def warn_untried_versions() -> None:
    """Warn, once and never fail, about neighbours outside the versions mmbsa was tried with."""
    for name, (_, low, high) in BOUNDS.items():
        if out_of_bounds(name):
            distribution, version = installed_version(name)
            warnings.warn(
                f'mmbsa {__version__} was tried with {name} >= {low}, < {high}; {distribution} '
                f'{version} is installed. It may work; please report what you see.',
                stacklevel=2,
            )
