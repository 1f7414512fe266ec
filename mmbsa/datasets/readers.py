"""Import of SpikingJelly's readers of event files."""

import functools
import importlib
import sys
from types import ModuleType


@functools.cache
def spikingjelly_readers() -> ModuleType:
    """Return the module ``spikingjelly.datasets``, also if torchaudio cannot be imported.

    The first call takes seconds. The package imports torchaudio for Speech Commands, which this
    project does not use. Each torchaudio version requires one torch version, and the newest torch
    may have none. If the import of torchaudio fails, an empty module replaces it while the package
    is imported.
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
