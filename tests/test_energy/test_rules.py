"""Every op of ours, and every op that a shipped config calls, has a rule."""

import re
from copy import deepcopy
from functools import cache

import torch
from config_files import ALL
from config_files import load as load_config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch._C import DispatchKey
from torch.utils._python_dispatch import TorchDispatchMode

import mmbsa.ops  # noqa: F401  registers torch.ops.mmbsa
from mmbsa.apis.swap.measure import build_skeleton
from mmbsa.energy import count_operations
from mmbsa.energy.rules import find, is_neuron

#: entries of a model's config that add no op to its inference.
NO_LAYERS = (
    'data_preprocessor',
    'loss',
    'loss_decode',
    'init_cfg',
    'train_cfg',
    'auxiliary_head',
    'teacher',
    'recipe',
)


@cache
def _read(path: str):
    return load_config(path)


def load(path: str):
    """A config, read from its file once."""
    cfg = deepcopy(_read(path))
    init_default_scope(cfg.default_scope)
    return cfg


class Names(TorchDispatchMode):
    """Notes the ops without a rule that run outside of neurons; nothing is computed, tensors are
    on the meta device.
    """

    def __init__(self):
        super().__init__()
        self.unknown, self.depth = set(), 0

    def follow(self, model):
        for module in model.modules():
            if is_neuron(module):
                module.register_forward_pre_hook(lambda *_: self.move(1))
                module.register_forward_hook(lambda *_: self.move(-1))

    def move(self, by):
        self.depth += by

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func._schema.name, kwargs or {}
        if not self.depth and find(name) is None:
            if func.has_kernel_for_dispatch_key(DispatchKey.CompositeImplicitAutograd):
                with self:
                    return func.decompose(*args, **kwargs)
            if not func.is_view:
                self.unknown.add(name)
        return func(*args, **kwargs)


def test_every_op_of_ours_has_a_rule():
    names = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith('mmbsa::')]
    assert len(names) >= 8
    assert [name for name in names if find(name.partition('.')[0]) is None] == []


def _types(cfg) -> set:
    found = set()
    if isinstance(cfg, dict):
        found.add(str(cfg.get('type')))
        cfg = [value for key, value in cfg.items() if key not in NO_LAYERS]
    if isinstance(cfg, list | tuple):
        for part in cfg:
            found |= _types(part)
    return found


def _untrained(cfg) -> None:
    """No weights are fetched."""
    if isinstance(cfg, dict):
        if cfg.get('pretrained'):
            cfg['pretrained'] = False
        cfg = list(cfg.values())
    if isinstance(cfg, list | tuple):
        for part in cfg:
            _untrained(part)


def _kinds() -> list[str]:
    """One config per name without data set and size, which add no op: reading all takes too
    long."""
    found = {}
    for path in ALL:
        folder, _, stem = path.rpartition('/')
        found.setdefault((folder, re.sub(r'_[^_]+$|[0-9]+(-[0-9]+)?', '', stem)), path)
    return sorted(found.values())


def _representatives() -> list[str]:
    """Of these, one per set of classes."""
    found = {}
    for path in _kinds():
        cfg = _read(path)
        found.setdefault((cfg.default_scope, frozenset(_types(cfg.model))), path)
    return sorted(found.values())


def _meta_inputs(model, cfg):
    """What ``model(..., mode='tensor')`` takes, without memory."""
    steps = getattr(getattr(model, 'backbone', None), 'num_steps', 1)
    if cfg.model.get('crops'):
        return {
            name: torch.empty(
                steps,
                1,
                3,
                cfg.model.crops[f'{name}_size'],
                cfg.model.crops[f'{name}_size'],
                device='meta',
            )
            for name in ('template', 'search')
        }
    if 'Point' in type(model.backbone).__name__:
        return torch.empty(1, 1024, model.backbone.in_channels, device='meta')
    channels = (
        getattr(model.backbone, 'in_channels', None)
        or next(w for w in model.parameters() if w.dim() == 4).shape[1]
    )
    positions = getattr(model.backbone, 'arch', {}).get(
        'positions'
    )  # of a full-size convolution in the head
    stride = model.backbone.feature_info[-1]['reduction'] if positions else 1
    side = round(positions**0.5) * stride if positions else 64
    return torch.empty(
        *((2, steps, channels, side, side) if channels == 2 else (2, channels, side, side)),
        device='meta',
    )


def test_every_op_of_the_shipped_configs_has_a_rule(monkeypatch):
    monkeypatch.setattr(
        torch, 'is_autocast_enabled', lambda *_: False
    )  # torch does not know it for meta tensors
    paths, unknown = _representatives(), {}
    assert len(paths) >= 10
    for path in paths:
        cfg = load(path)
        _untrained(cfg.model)
        model = revert_sync_batchnorm(build_skeleton(cfg.model, cfg.default_scope).eval())
        names, x = Names(), _meta_inputs(model, cfg)
        names.follow(model)
        try:
            with torch.no_grad(), names:
                if cfg.default_scope == 'mmdet':  # the rest depends on values, see below
                    model.extract_feat(x)
                else:
                    model(x, mode='tensor')
        except NotImplementedError:  # an op whose shape depends on values
            model = MODELS.build(cfg.model)
            report = count_operations(model, torch.rand(x.shape), mode='tensor')
            names.unknown.update(report.unknown)
        unknown.update({name: path for name in names.unknown})
    assert unknown == {}


def _detectors() -> list[str]:
    """One config per set of heads."""
    found = {}
    for path in _kinds():
        cfg = _read(path)
        if cfg.default_scope == 'mmdet':
            heads = {key: value for key, value in cfg.model.items() if key != 'backbone'}
            found.setdefault(frozenset(_types(heads)), path)
    return sorted(found.values())


def test_every_op_of_the_detectors_predictions_has_a_rule():
    for path in _detectors():  # no parameters: collecting tests must not read every config
        from mmdet.structures import DetDataSample

        cfg = load(path)
        _untrained(cfg.model)
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
        sides = {
            key: (64, 64) for key in ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
        }
        sample = DetDataSample(metainfo=dict(scale_factor=(1.0, 1.0), **sides))
        x = torch.rand(1, *_meta_inputs(model, cfg).shape[1:])
        report = count_operations(model, x, [sample], mode='predict', strict=True)
        assert report.total.ac + report.total.mac > 0, path
