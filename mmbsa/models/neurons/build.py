"""Building neurons from configs, and the ternary twin of a host's neuron."""
import inspect
from copy import deepcopy

from torch import nn

from mmbsa.models.neurons import spikingjelly
from mmbsa.models.neurons.integer import IntegerNode
from mmbsa.registry import MODELS

#: names of papers and benchmarks for classes that are called otherwise here.
ALIASES = dict(PLIFNode='ParametricLIFNode', GLIFNode='GatedLIFNode', CLIFNode='ComplementaryLIFNode',
               NILIFNode='IntegerNode')
for _alias, _name in ALIASES.items():
    MODELS.register_module(name=_alias, module=MODELS.module_dict[_name])

#: arguments that a ternary neuron takes over from its host.
_SHARED = ('tau', 'decay_input', 'v_threshold', 'v_reset', 'detach_reset', 'surrogate_function')


def build_neuron(cfg: dict | None, num_steps: int = 1, **overrides) -> nn.Module:
    """Build a fresh neuron layer.

    Args:
        cfg: a config such as ``dict(type='mmbsa.LIFNode', tau=2.0)``; None builds an identity (a real-valued path).
        num_steps: T, handed to neurons whose parameters depend on it (PSN, GatedLIFNode, ...).
        overrides: arguments that win over ``cfg`` where the neuron has them, for example an attention threshold.

    Raises:
        TypeError, KeyError: cfg is no config, or its type is no registered neuron.
    """
    if cfg is None:
        return nn.Identity()
    if not isinstance(cfg, dict) or 'type' not in cfg:
        raise TypeError(f"neuron must be a config such as dict(type='mmbsa.LIFNode', tau=2.0), got {cfg!r}")
    cfg = deepcopy(dict(cfg))
    cls = cfg['type'] if inspect.isclass(cfg['type']) else MODELS.get(cfg['type'])
    if cls is None:
        raise KeyError(f"neuron type {cfg['type']!r} is not registered; SpikingJelly's are "
                       f"{', '.join('mmbsa.' + n for n in spikingjelly.NODE_NAMES)}; ours are "
                       'mmbsa.IntegerNode, mmbsa.SignedIntegerNode, mmbsa.HDLIFNode, mmbsa.HodgkinHuxleyNode; other '
                       f"names are {', '.join(f'mmbsa.{alias} ({name})' for alias, name in ALIASES.items())}")
    stateless = issubclass(cls, spikingjelly.StatelessNode)
    known = spikingjelly._parameters(cls) if stateless else inspect.signature(cls.__init__).parameters
    cfg.update({key: value for key, value in overrides.items() if key in known})
    if 'T' in known:
        cfg.setdefault('T', num_steps)
    return MODELS.build(cfg)


def _is_integer(cfg: dict) -> bool:
    cls = cfg['type'] if inspect.isclass(cfg['type']) else MODELS.get(cfg['type'])
    return cls is not None and issubclass(cls, IntegerNode)


def readout_neuron(host: dict) -> dict:
    """Config of the neuron between pooling and linear layer: the host's; integer counts are not divided by D there."""
    return dict(host, norm=1) if _is_integer(host) else host


def ternary_neuron(host: dict, **overrides) -> dict:
    """Config of the ternary neuron TSN (BSA, eq. 9-11) with the parameters of a host's neuron **[ours]**.

    LIF-like hosts hand over tau, decay_input, threshold, reset, detach_reset and surrogate. The integer neuron of
    E-SpikeFormer keeps the share ``decay`` of its membrane and does not scale its input, which in SpikingJelly's terms is
    ``tau = 1 / (1 - decay), decay_input=False``; its unit of charge is 1, so the threshold is 1.

    Args:
        host: the host's neuron config.
        overrides: arguments of ``TernaryLIFNode`` that win; a ``type`` replaces the whole neuron.
    """
    if 'type' in overrides:
        return overrides
    if _is_integer(host):
        node = MODELS.build(deepcopy(dict(host)))
        cfg = dict(type='mmbsa.TernaryLIFNode', tau=1 / (1 - node.decay), decay_input=False, v_threshold=1.0,
                   v_reset=0.0, detach_reset=node.detach_reset)
        if node.decay == 0:  # tau = 1 is outside of SpikingJelly's range; almost nothing is kept
            cfg['tau'] = 1 + 1e-6
    else:
        cfg = dict(type='mmbsa.TernaryLIFNode', **{k: deepcopy(host[k]) for k in _SHARED if k in host})
        if 'init_tau' in host:
            cfg['tau'] = host['init_tau']
        if isinstance(host['type'], str) and host['type'].endswith('.IFNode'):
            cfg['type'] = 'mmbsa.TernaryIFNode'
    cfg.update(overrides)
    return cfg
