"""Every op of ours, and every op that a shipped config calls, has a rule."""
import torch
from config_files import ALL, load
from mmengine.model import revert_sync_batchnorm
from torch._C import DispatchKey
from torch.utils._python_dispatch import TorchDispatchMode

import mmbsa.ops  # noqa: F401  registers torch.ops.mmbsa
from mmbsa.apis.swap.measure import build_skeleton
from mmbsa.energy.rules import find, is_neuron

#: entries of a model's config that add no op to its inference.
NO_LAYERS = ('data_preprocessor', 'loss', 'loss_decode', 'init_cfg', 'train_cfg', 'auxiliary_head', 'teacher', 'recipe')


class Names(TorchDispatchMode):
    """Notes the ops without a rule that run outside of neurons; nothing is computed, tensors are on the meta device."""

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


def _representatives() -> list[str]:
    """One config per set of classes."""
    found = {}
    for path in ALL:
        cfg = load(path)
        found.setdefault((cfg.default_scope, frozenset(_types(cfg.model))), path)
    return sorted(found.values())


def test_every_op_of_the_shipped_configs_has_a_rule(monkeypatch):
    monkeypatch.setattr(torch, 'is_autocast_enabled', lambda *_: False)  # torch does not know it for meta tensors
    paths, unknown = _representatives(), {}
    assert len(paths) >= 10
    for path in paths:
        cfg = load(path)
        _untrained(cfg.model)
        model = revert_sync_batchnorm(build_skeleton(cfg.model, cfg.default_scope).eval())
        backbone = getattr(model, 'backbone', None)
        channels = getattr(backbone, 'in_channels', None) or next(w for w in model.parameters() if w.dim() == 4).shape[1]
        shape = (2, backbone.num_steps, channels, 64, 64) if channels == 2 else (2, channels, 64, 64)
        names = Names()
        names.follow(model)
        with torch.no_grad(), names:
            model(torch.empty(*shape, device='meta'), mode='tensor')
        unknown.update({name: path for name in names.unknown})
    assert unknown == {}
