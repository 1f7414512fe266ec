"""Neurons: one update, one leak and one comparison per threshold, per step and neuron, whatever
code computes them.
"""

from copy import deepcopy
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from mmbsa.energy import sums
from mmbsa.energy.rules.quantiser import Quantiser, quantise
from mmbsa.energy.rules.registry import Call, rule
from mmbsa.energy.tags import Tag
from mmbsa.spiking import (
    BINARY,
    TERNARY,
    SpikeDomain,
    SpikingNeuron,
    counts,
    domain_of,
    measure_domain,
)

#: packages whose classes are neurons: inside them aten ops are not counted, as they differ between
#: backends.
THIRD_PARTY = (
    'spikingjelly.activation_based.neuron',
    'snntorch._neurons',
    'norse.torch.module.lif',
)
#: packages in which a class ending so is a neuron, and not a container or a base of synapses.
_ENDINGS = ('Node', 'PSN', 'Leaky', 'LIF', 'Cell', 'Alpha', 'Synaptic', 'Lapicque')
#: classes, or bases of them, without a leak.
_NO_LEAK = ('IFNode', 'TernaryIFNode', 'PSN', 'MaskedPSN', 'SlidingPSN', 'Lapicque')


def is_neuron(module: nn.Module) -> bool:
    """Whether a module is counted by the rule of neurons instead of by its ops.

    A :class:`SpikingNeuron` is one, a module that was given a ``domain`` is, and SpikingJelly's,
    snnTorch's and norse's nodes are; so are the quantisers of a twin.
    """
    if isinstance(module, SpikingNeuron | Quantiser) or isinstance(
        vars(module).get('domain'), SpikeDomain
    ):
        return True
    return any(
        base.__module__.startswith(THIRD_PARTY) and base.__name__.endswith(_ENDINGS)
        for base in type(module).__mro__
    )


def leaks(module: nn.Module) -> bool:
    """Whether a membrane decays between steps; a module says so by ``leaky`` where its class does
    not.
    """
    if hasattr(module, 'leaky'):
        return bool(module.leaky)
    if getattr(module, 'decay', None) == 0:
        return False
    own = (cls for cls in type(module).__mro__ if cls is not nn.Module)
    exact = next(
        (cls.__name__ for cls in own if cls.__module__.startswith(THIRD_PARTY)),
        type(module).__name__,
    )
    return exact not in _NO_LEAK


def domain_of_neuron(module: nn.Module, known: dict) -> SpikeDomain | None:
    """The declared domain; measured once for nodes that declare none."""
    try:
        return domain_of(module)
    except TypeError:
        if module not in known:
            known[module] = _measured(module)
        return known[module]


def _measured(module: nn.Module) -> SpikeDomain | None:
    twin: Any = deepcopy(module)
    if hasattr(twin, 'reset'):
        twin.reset()
    if getattr(twin, 'step_mode', 'm') == 's':
        twin.step_mode = 'm'
    with _disable_current_modes():
        try:
            return measure_domain(twin)
        except TypeError:
            return None


def neuron_module(counter, module: nn.Module, x: Tensor, spikes: Tensor) -> None:
    """Count one call of a neuron layer and tag its output as spikes.

    Args:
        counter: the counter that collects the rows of the report.
        module: the neuron layer, or a :class:`Quantiser` in the twin of a network.
        x: input of the layer, (T, *).
        spikes: output of the layer, of the shape of ``x``.
    """
    if isinstance(module, Quantiser):
        return quantise(Call(counter, 'Quantiser', dict(x=x), spikes), module, x)
    known = counter.neurons.get(module)
    if known is None:
        domain = domain_of_neuron(module, {})
        known = counter.neurons[module] = domain, leaks(module), _counts_in_one_step(module)
    domain, decays, forgets = known
    multi = getattr(module, 'step_mode', 'm') == 'm'
    steps = x.shape[0] if multi and x.dim() else max(1, counter.tags.get(x).steps)
    call = Call(counter, type(module).__name__, dict(x=x), spikes)
    fire(call, x, domain, leaky=decays and (x.shape[0] > 1 or not forgets), steps=steps)


def _counts_in_one_step(module: nn.Module) -> bool:
    """Integer neurons keep nothing of a single step (the 1 x D protocol)."""
    return hasattr(module, 'levels') and hasattr(module, 'norm')


def fire(call: Call, x: Tensor, domain: SpikeDomain | None, leaky: bool, steps: int) -> None:
    """Count a neuron layer: x (T, *) -> ``call.out``.

    A threshold is one between two neighbouring levels: 1 of a binary neuron, 2 of a ternary one, D
    of a count.
    """
    spikes = call.out
    figures, detail = call.row('neuron', ('current', x))
    size = spikes.numel()
    levels = 1 if domain is None else domain.high - domain.low
    figures.updates += size
    figures.leaks += size if leaky else 0
    figures.thresholds += levels * size
    figures.state_reads += size
    figures.state_writes += size
    figures.out_bits += size * (domain.bits if domain is not None else 8 * spikes.element_size())
    kind = call.op.rpartition(':')[2]
    tag = Tag(domain, f'neuron {call.counter.current.name or call.op} ({kind})', steps=steps)
    call.put(tag)
    if domain is not None:
        # of maps a convolution will ask for the sum of every position
        fired, counts_fired = sums.fired(spikes, tag, maps=spikes.dim() == 5)
        figures.spikes += fired
        figures.resets += fired
        detail['counts'] = detail.get('counts', 0) + counts_fired
    figures.outputs += size
    detail['domain'] = str(domain) if domain is not None else 'real'
    detail['neurons'] = max(detail.get('neurons', 0), size // steps)
    detail['neuron'] = kind


@rule('mmbsa::lif')
def lif(call: Call) -> None:
    """The op by itself, outside of a neuron module."""
    x = call.args['x']
    fire(
        call,
        x,
        TERNARY if call.args['signed'] else BINARY,
        leaky=call.args['tau'] is not None,
        steps=len(x),
    )


@rule('mmbsa::integer_spike')
def integer_spike(call: Call) -> None:
    """Rounding to counts: one step without memory."""
    args = call.args
    domain = counts(int(args['high']), 1 / args['norm'], signed=args['low'] < 0)
    fire(call, args['u'], domain, leaky=False, steps=max(1, call.tag(args['u']).steps))
