"""Building neurons from configs, and the ternary twin of a neuron."""

import inspect
from copy import deepcopy
from typing import Any

from torch import nn

from mmbsa.models.neurons import spikingjelly
from mmbsa.models.neurons.integer import IntegerNode
from mmbsa.registry import MODELS, build_checked, resolve_type
from mmbsa.spiking import SpikingNeuron, measure_domain

#: names of papers and benchmarks for classes that are called otherwise here.
ALIASES = dict(
    PLIFNode='ParametricLIFNode',
    GLIFNode='GatedLIFNode',
    CLIFNode='ComplementaryLIFNode',
    NILIFNode='IntegerNode',
)
for _alias, _name in ALIASES.items():
    MODELS.register_module(name=_alias, module=MODELS.module_dict[_name])

#: arguments that a ternary neuron takes over from a LIF neuron.
_SHARED = ('tau', 'decay_input', 'v_threshold', 'v_reset', 'detach_reset', 'surrogate_function')


def build_neuron(cfg: dict | None, key: str = 'neuron', **overrides) -> nn.Module:
    """Build a fresh neuron layer.

    Args:
        cfg: a config such as ``dict(type='mmbsa.LIFNode', tau=2.0)``; None builds an identity (a
            real-valued path). Neurons whose parameters depend on T need it in the config, see
            :func:`bind_steps`.
        key: where the config stands, for messages.
        overrides: arguments that win over ``cfg`` where the neuron has them, for example an
            attention threshold.

    Returns:
        The neuron. A class that is no :class:`mmbsa.spiking.SpikingNeuron` and declares no
        ``domain`` gets the one that was measured, and is refused by :func:`mmbsa.spiking.stream`.

    Raises:
        TypeError: cfg is no config, or an argument that the neuron does not have, or a domain that
            is neither declared nor measurable.
        KeyError: its type is not registered.
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
    """Names that the constructor of a neuron takes."""
    if issubclass(cls, spikingjelly.StatelessNode):
        return set(spikingjelly.constructor_parameters(cls))
    return set(inspect.signature(cls.__init__).parameters)


def bind_steps(cfg: Any, num_steps: int | None) -> Any:
    """A copy of a config in which every neuron whose parameters depend on T is told T.

    Backbones, necks and heads call it once, on the neuron and attention configs that they are
    given; nested configs are visited. A ``T`` that a config names itself stays.

    Args:
        cfg: a config, None, or anything that holds configs.
        num_steps: T; None binds nothing, and such a neuron asks for ``T`` itself.
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
    """Config of the neuron between pooling and linear layer: integer counts are not divided by D
    there."""
    return (
        dict(cfg, norm=1)
        if issubclass(resolve_type(cfg, nn.Module, 'neuron', MODELS), IntegerNode)
        else cfg
    )


def ternary_neuron(cfg: dict, **overrides) -> dict:
    """Config of the ternary neuron TSN (BSA, eq. 9-11) with the parameters of another neuron
    **[ours]**.

    LIF-like neurons hand over tau, decay_input, threshold, reset, detach_reset and surrogate. The
    integer neuron of E-SpikeFormer keeps the share ``decay`` of its membrane and does not scale its
    input, which in SpikingJelly's terms is ``tau = 1 / (1 - decay), decay_input=False``; its unit
    of charge is 1, so the threshold is 1.

    Args:
        cfg: the config of the backbone's neuron.
        overrides: arguments of ``TernaryLIFNode`` that win; a ``type`` replaces the whole neuron.
    """
    if 'type' in overrides:
        return overrides
    cls = resolve_type(cfg, nn.Module, 'neuron', MODELS)
    if issubclass(cls, IntegerNode):
        node = MODELS.build(deepcopy(dict(cfg)))
        # tau = 1, a decay of 0, is outside of SpikingJelly's range; with 1e-6 almost nothing is
        # kept
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
