"""Surrogate gradients by name: every one comes from SpikingJelly."""
import inspect
from copy import deepcopy

from spikingjelly.activation_based import surrogate as sj
from torch import nn

SURROGATES = {name: cls for name, cls in vars(sj).items() if inspect.isclass(cls)
              and issubclass(cls, sj.SurrogateFunctionBase) and cls is not sj.SurrogateFunctionBase}


def build_surrogate(cfg: dict | str | nn.Module) -> nn.Module:
    """Build a surrogate that no other neuron shares.

    Args:
        cfg: ``'ATan'``, ``dict(type='Sigmoid', alpha=4.0)``, or a SpikingJelly surrogate module (copied).

    Raises:
        KeyError: the type is no surrogate of SpikingJelly; the message lists those it has.
    """
    if isinstance(cfg, nn.Module):
        return deepcopy(cfg)
    cfg = dict(type=cfg) if isinstance(cfg, str) else dict(cfg)
    name = cfg.pop('type', None)
    if name not in SURROGATES:
        raise KeyError(f"surrogate_function.type={name!r} is unknown; SpikingJelly has {', '.join(sorted(SURROGATES))}")
    return SURROGATES[name](**cfg)
