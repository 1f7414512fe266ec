"""SpikingJelly's readers of event files."""

import functools
import importlib
import sys
from types import ModuleType


@functools.cache
def spikingjelly_readers() -> ModuleType:
    """Return ``spikingjelly.datasets``, also where torchaudio does not load; takes seconds.

    The package imports torchaudio for Speech Commands, which nothing here reads, and torchaudio
    refuses every torch but one: a fresh installation of the newest torch has none that fits. An
    empty module then stands in while the package is loaded.
    """
    try:
        importlib.import_module('torchaudio')
    except (ImportError, OSError, RuntimeError):
        sys.modules['torchaudio'] = ModuleType('torchaudio')
        try:
            return importlib.import_module('spikingjelly.datasets')
        finally:
            del sys.modules['torchaudio']
    return importlib.import_module('spikingjelly.datasets')
