"""Build neurons from configs, and derive the ternary neuron that corresponds to a given neuron."""

import inspect
from copy import deepcopy
from typing import Any

from torch import nn

from mmbsa.models.neurons import spikingjelly
from mmbsa.models.neurons.integer import IntegerNode
from mmbsa.registry import MODELS, build_checked, resolve_type
from mmbsa.spiking import SpikingNeuron, measure_domain

#: names that papers and benchmarks use -> names of the classes in this package.
ALIASES = dict(
    PLIFNode='ParametricLIFNode',
    GLIFNode='GatedLIFNode',
    CLIFNode='ComplementaryLIFNode',
    NILIFNode='IntegerNode',
)
for _alias, _name in ALIASES.items():
    MODELS.register_module(name=_alias, module=MODELS.module_dict[_name])

#: arguments of a LIF neuron that its ternary neuron takes over.
_SHARED = ('tau', 'decay_input', 'v_threshold', 'v_reset', 'detach_reset', 'surrogate_function')


def build_neuron(cfg: dict | None, key: str = 'neuron', **overrides) -> nn.Module:
    """Build a new neuron layer from a config.

    Args:
        cfg: a config such as ``dict(type='mmbsa.LIFNode', tau=2.0)``; None builds an identity (a
            real-valued path). If the parameters of a neuron depend on T, its config must contain
            ``T``, see :func:`bind_steps`.
        key: the key of the config, for messages; default ``'neuron'``.
        overrides: arguments that replace those of ``cfg`` if the neuron has them, for example the
            threshold of an attention kind.

    Returns:
        The neuron. If its class is not a :class:`mmbsa.spiking.SpikingNeuron` and declares no
        ``domain``, the domain is measured, and :func:`mmbsa.spiking.stream` does not support the
        neuron.

    Raises:
        TypeError: ``cfg`` is not a config, the neuron does not have an argument, or its domain is
            neither declared nor measurable.
        KeyError: the type is not registered.
    """
    if cfg is None:
        return nn.Identity()
    cls = resolve_type(cfg, nn.Module, key, MODELS, SpikingNeuron)
    known = _arguments(cls)
    given = {name: value for name, value in overrides.items() if name in known}
    neuron = build_checked({**cfg, **given}, nn.Module, key, MODELS)
    if not isinstance(neuron, SpikingNeuron):
        if not hasattr(neuron, 'domain'):
            neuron.domain = measure_domain(neuron)
        neuron.no_stream = 'it has no run(x, state); derive it from mmbsa.spiking.SpikingNeuron'
    return neuron


def _arguments(cls: type) -> set[str]:
    """Return the names of the arguments of a neuron's constructor."""
    if issubclass(cls, spikingjelly.StatelessNode):
        return set(spikingjelly.constructor_parameters(cls))
    return set(inspect.signature(cls.__init__).parameters)


def bind_steps(cfg: Any, num_steps: int | None) -> Any:
    """Return a copy of a config with ``T`` set in every neuron config whose parameters depend on T.

    Backbones, necks and heads call it once on their neuron and attention configs. Nested configs
    are included. A ``T`` that a config already contains is kept.

    Args:
        cfg: a config, None, or a container of configs.
        num_steps: T; None changes nothing, and a neuron that needs ``T`` then raises an error when
            it is built.
    """
    if num_steps is None:
        return cfg
    if isinstance(cfg, list | tuple):
        return type(cfg)(bind_steps(part, num_steps) for part in cfg)
    if not isinstance(cfg, dict):
        return cfg
    bound = {name: bind_steps(part, num_steps) for name, part in cfg.items()}
    cls = bound.get('type')
    if isinstance(cls, str):
        cls = MODELS.module_dict.get(cls.removeprefix('mmbsa.'))
    if inspect.isclass(cls) and issubclass(cls, nn.Module) and 'T' in _arguments(cls):
        bound.setdefault('T', num_steps)
    return bound


def readout_neuron(cfg: dict) -> dict:
    """Return the config of the neuron between pooling and the linear layer.

    In an integer neuron there the counts are not divided by D; other configs are returned
    unchanged.

    Args:
        cfg: the neuron config of the backbone.
    """
    return (
        dict(cfg, norm=1)
        if issubclass(resolve_type(cfg, nn.Module, 'neuron', MODELS), IntegerNode)
        else cfg
    )


def ternary_neuron(cfg: dict, **overrides) -> dict:
    """Return the config of the ternary neuron TSN (BSA, eq. 9-11) with the parameters of another
    neuron **[ours]**.

    The ternary neuron takes over tau, decay_input, v_threshold, v_reset, detach_reset and
    surrogate_function of a LIF-like neuron. The integer neuron of E-SpikeFormer keeps the share
    ``decay`` of its membrane potential and does not scale its input; SpikingJelly writes this as
    ``tau = 1 / (1 - decay), decay_input=False``. Its count increases by 1 for an input of 1, so the
    threshold is 1.

    Args:
        cfg: the neuron config of the backbone.
        overrides: arguments of ``TernaryLIFNode`` that replace the derived ones; a ``type``
            replaces the whole neuron.
    """
    if 'type' in overrides:
        return overrides
    cls = resolve_type(cfg, nn.Module, 'neuron', MODELS)
    if issubclass(cls, IntegerNode):
        node = MODELS.build(deepcopy(dict(cfg)))
        # decay = 0 means tau = 1, which SpikingJelly does not allow; with tau = 1 + 1e-6 a share of
        # about 1e-6 is kept
        tau = 1 / (1 - node.decay) if node.decay else 1 + 1e-6
        twin = dict(
            type='mmbsa.TernaryLIFNode',
            tau=tau,
            decay_input=False,
            v_threshold=1.0,
            v_reset=0.0,
            detach_reset=node.detach_reset,
        )
    else:
        twin = dict(
            type='mmbsa.TernaryLIFNode', **{k: deepcopy(cfg[k]) for k in _SHARED if k in cfg}
        )
        if 'init_tau' in cfg:
            twin['tau'] = cfg['init_tau']
        if cls.__name__ == 'IFNode':
            twin['type'] = 'mmbsa.TernaryIFNode'
    twin.update(overrides)
    return twin
