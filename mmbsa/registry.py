"""The registries of mmbsa (scope ``mmbsa``), children of mmengine's registries, and how a ``type``
is resolved.

A ``type='mmbsa.X'`` in any mm config makes mmengine import this module, so no ``custom_imports`` is
needed. The modules in ``locations`` are imported when a registry first searches one of its own
types.
"""

import difflib
import functools
import inspect
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

from mmbsa.utils.checkpoint import make_loading_safe
from mmbsa.version import warn_untried_versions

warn_untried_versions()
# every process that uses a type of mmbsa reads checkpoints with weights_only=True, on both
# OpenMMLab stacks
make_loading_safe()


class SpikingRegistry(Registry):
    """A registry with error messages that suggest the right name.

    The error for an unknown name gives the closest registered names, with their scope. The error
    for an unknown argument of a registered class lists the arguments that the class takes.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._callbacks: list[tuple[type, Callable[[type], None]]] = []

    def get(self, key: str) -> Any:
        """Return the registered class or function of a name.

        Args:
            key: the name, with or without its scope: ``'mmbsa.LIFNode'``.

        Raises:
            KeyError: the name is unknown; the message gives the closest registered names.
        """
        try:
            found = super().get(key)
        except RuntimeError:  # newer versions of mmengine raise where older ones return None
            found = None
        if found is None:
            raise KeyError(f'{key!r} is not registered. {self.hint(key)}')
        return found

    def hint(self, key: str, base: type | None = None) -> str:
        """Return a sentence with the registered names that are closest to an unknown name.

        Args:
            key: the unknown name.
            base: suggest only subclasses of this class; None (default) suggests every registered
                type.
        """
        names = [
            name
            for name, cls in self.module_dict.items()
            if base is None or inspect.isclass(cls) and issubclass(cls, base)
        ]
        name = key.split('.')[-1]
        folded = {known.lower(): known for known in names}
        close = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.75)
        if close:
            return f'Did you mean {" or ".join(repr(f"mmbsa.{folded[c]}") for c in close)}?'
        return f'Registered: {", ".join(f"mmbsa.{known}" for known in sorted(names))}.'

    def on_register(self, base: type, callback: Callable[[type], None]) -> None:
        """Call ``callback`` for every registered subclass of ``base``, now and for every later
        registration.

        Args:
            base: the class whose subclasses are reported.
            callback: called with each such class once.
        """
        self._callbacks.append((base, callback))
        for cls in list(dict.fromkeys(self.module_dict.values())):
            if inspect.isclass(cls) and issubclass(cls, base):
                callback(cls)

    def _register_module(self, module: type | Callable, *args, **kwargs) -> None:
        if inspect.isclass(module) and '__init__' in vars(module):
            _name_arguments(module)
        new = module not in self.module_dict.values()
        super()._register_module(module, *args, **kwargs)
        for base, callback in self._callbacks:
            if new and inspect.isclass(module) and issubclass(module, base):
                callback(module)


def _name_arguments(cls: type) -> None:
    """Make the constructor of ``cls`` raise an error that lists its arguments if a keyword is
    unknown."""
    init = cls.__init__
    parameters = inspect.signature(init).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) or hasattr(
        init, '_names_arguments'
    ):
        return
    known = [name for name in parameters if name != 'self']

    @functools.wraps(init)
    def checked(self, *args, **kwargs):
        unknown = [key for key in kwargs if key not in parameters]
        if unknown:
            close = difflib.get_close_matches(unknown[0], known, n=1)
            raise TypeError(
                f'{type(self).__name__} has no argument {", ".join(map(repr, unknown))}'
                + (f' (did you mean {close[0]!r}?)' if close else '')
                + f'; it takes {", ".join(known)}'
            )
        init(self, *args, **kwargs)

    checked._names_arguments = True
    cls.__init__ = checked


def resolve_type(
    cfg: dict, base: type, key: str, registry: SpikingRegistry, suggest: type | None = None
) -> type:
    """Return the class that the ``type`` of a config names, given as a string or as the class
    itself.

    Args:
        cfg: a config dict.
        base: the class must be a subclass of it.
        key: the key of the config, for messages: ``'backbone.attention'``.
        registry: the registry that contains the name.
        suggest: messages suggest subclasses of this class; None (default) means ``base``.

    Raises:
        TypeError: ``cfg`` is not a config dict, or its type is not a subclass of ``base``.
        KeyError: the name is unknown; the message gives the closest registered names.
    """
    suggest = suggest or base
    if not isinstance(cfg, dict) or 'type' not in cfg:
        raise TypeError(
            f"{key} must be a config such as dict(type='mmbsa.{_example(suggest, registry)}'), got "
            f'{cfg!r}'
        )
    cls = cfg['type']
    if isinstance(cls, str):
        try:
            cls = registry.get(cls)
        except KeyError:
            raise KeyError(
                f'{key}.type={cfg["type"]!r} is not registered. '
                f'{registry.hint(cfg["type"], suggest)}'
            ) from None
    if not inspect.isclass(cls) or not issubclass(cls, base):
        raise TypeError(
            f'{key}.type={cfg["type"]!r} is not a subclass of {suggest.__name__}. '
            f'{registry.hint(str(cfg["type"]), suggest)}'
        )
    return cls


def _example(base: type, registry: SpikingRegistry) -> str:
    registry.import_from_location()
    return next(
        (
            name
            for name, cls in sorted(registry.module_dict.items())
            if inspect.isclass(cls) and issubclass(cls, base)
        ),
        base.__name__,
    )


def build_checked(cfg: dict, base: type, key: str, registry: SpikingRegistry, **defaults) -> Any:
    """Build an object of a subclass of ``base`` from a copy of its config.

    Args:
        cfg: a config dict; it is not changed.
        base: the class must be a subclass of it.
        key: the key of the config, for messages: ``'backbone.attention'``.
        registry: the registry that contains the name.
        defaults: arguments of the constructor that ``cfg`` may override.

    Raises:
        TypeError, KeyError: as in :func:`resolve_type`.
    """
    cls = resolve_type(cfg, base, key, registry)
    return registry.build({**defaults, **deepcopy(dict(cfg)), 'type': cls})


# neurons, attentions, backbones, necks, heads
MODELS = SpikingRegistry('model', parent=MMENGINE_MODELS, scope='mmbsa', locations=['mmbsa.models'])
# image and event datasets
DATASETS = SpikingRegistry(
    'dataset', parent=MMENGINE_DATASETS, scope='mmbsa', locations=['mmbsa.datasets']
)
# pipeline steps
TRANSFORMS = SpikingRegistry(
    'transform', parent=MMENGINE_TRANSFORMS, scope='mmbsa', locations=['mmbsa.datasets.transforms']
)
# hooks of a training or test run
HOOKS = SpikingRegistry(
    'hook', parent=MMENGINE_HOOKS, scope='mmbsa', locations=['mmbsa.engine', 'mmbsa.visualization']
)
# metrics that no mm package has
METRICS = SpikingRegistry(
    'metric', parent=MMENGINE_METRICS, scope='mmbsa', locations=['mmbsa.evaluation']
)
# optimizers that neither torch nor OpenMMLab has
OPTIMIZERS = SpikingRegistry(
    'optimizer', parent=MMENGINE_OPTIMIZERS, scope='mmbsa', locations=['mmbsa.engine.lamb']
)
# mixed precision on CPUs
OPTIM_WRAPPERS = SpikingRegistry(
    'optim_wrapper', parent=MMENGINE_OPTIM_WRAPPERS, scope='mmbsa', locations=['mmbsa.engine.amp']
)
