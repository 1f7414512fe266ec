"""Surrogate gradients by name; all but one are SpikingJelly's."""

import inspect
from copy import deepcopy

import torch
from spikingjelly.activation_based import surrogate as sj
from torch import nn

from mmbsa.models.neurons.gate import Gate

SURROGATES = {
    name: cls
    for name, cls in vars(sj).items()
    if inspect.isclass(cls)
    and issubclass(cls, sj.SurrogateFunctionBase)
    and cls is not sj.SurrogateFunctionBase
}
SURROGATES['Gate'] = Gate
for _function in vars(sj).values():  # torch derives the rule for torch.vmap, which they lack
    if inspect.isclass(_function) and issubclass(_function, torch.autograd.Function):
        _function.generate_vmap_rule = True
#: names of the STEP benchmark -> configs of SpikingJelly's surrogates.
ALIASES = {
    'sigmoid': 'Sigmoid',
    'atan': 'ATan',
    'qgate': 'PiecewiseQuadratic',
    'q-gate': 'PiecewiseQuadratic',
    'gate': 'Gate',
    'rectangle': 'Rect',
    'rect': 'Rect',
}
#: surrogates that :func:`mmbsa.ops.lif` supports, by class.
FUSED = {
    sj.Sigmoid: 'sigmoid',
    sj.ATan: 'atan',
    sj.PiecewiseQuadratic: 'piecewise_quadratic',
    sj.Rect: 'rect',
}


def build_surrogate(cfg: dict | str | nn.Module) -> nn.Module:
    """Build a surrogate gradient module; every neuron gets its own.

    Args:
        cfg: a class or its name (``'ATan'``), a config (``dict(type='Sigmoid', alpha=4.0)``), one
            of ``ALIASES`` (``'qgate'``, ...), or a SpikingJelly surrogate module, which is copied.

    Raises:
        KeyError: the type is unknown; the message lists the known ones.
        TypeError: ``cfg`` has another type, or the surrogate does not have an argument.
    """
    if isinstance(cfg, nn.Module):
        return deepcopy(cfg)
    if not isinstance(cfg, str | type | dict):
        raise TypeError(
            "surrogate_function must be a name, a config such as dict(type='ATan') or a "
            f'module, got {cfg!r}'
        )
    cfg = dict(type=cfg) if isinstance(cfg, str | type) else dict(cfg)
    name = cfg.pop('type', None)
    if inspect.isclass(name) and issubclass(name, nn.Module):
        return name(**cfg)
    name = ALIASES.get(name, name)
    if name not in SURROGATES:
        raise KeyError(
            f'surrogate_function.type={name!r} is unknown; use one of '
            f'{", ".join(sorted(SURROGATES))}, '
            f'{", ".join(ALIASES)}'
        )
    return SURROGATES[name](**cfg)
