"""Child registries of mmengine's roots, scope ``mmbsa``.

A ``type='mmbsa.X'`` in any mm config makes mmengine import this module, so no ``custom_imports`` is needed. Locations
are imported when a registry is first asked for one of our types.
"""
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

from mmbsa.utils.checkpoint import make_loading_safe
from mmbsa.version import warn_untried_versions

warn_untried_versions()
# wherever a type of ours is used, checkpoints are read with weights_only=True on both OpenMMLab stacks
make_loading_safe()

# neurons, attentions, backbones, necks, heads
MODELS = Registry('model', parent=MMENGINE_MODELS, scope='mmbsa', locations=['mmbsa.models'])
# image and event datasets
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='mmbsa', locations=['mmbsa.datasets'])
# pipeline steps
TRANSFORMS = Registry('transform', parent=MMENGINE_TRANSFORMS, scope='mmbsa', locations=['mmbsa.datasets.transforms'])
# observers and guards of a run
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmbsa', locations=['mmbsa.engine', 'mmbsa.visualization'])
# optimizers that neither torch nor OpenMMLab has
OPTIMIZERS = Registry('optimizer', parent=MMENGINE_OPTIMIZERS, scope='mmbsa', locations=['mmbsa.engine.lamb'])
