"""Rule of neurons: one update, one leak and one comparison per threshold, for each step and neuron.

The counts do not depend on the code that computes the neuron.
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

#: packages whose classes are neurons. The aten ops inside them are not counted, because they
#: differ between backends.
THIRD_PARTY = (
    'spikingjelly.activation_based.neuron',
    'snntorch._neurons',
    'norse.torch.module.lif',
)
#: packages in which only a class with this name ending is a neuron; others are containers or
#: synapses.
_ENDINGS = ('Node', 'PSN', 'Leaky', 'LIF', 'Cell', 'Alpha', 'Synaptic', 'Lapicque')
#: neuron classes, or base classes of neurons, without a leak.
_NO_LEAK = ('IFNode', 'TernaryIFNode', 'PSN', 'MaskedPSN', 'SlidingPSN', 'Lapicque')


def is_neuron(module: nn.Module) -> bool:
    """Return whether a module is counted by the rule of neurons instead of by its ops.

    These are :class:`SpikingNeuron`, modules with an attribute ``domain``, the nodes of
    SpikingJelly, snnTorch and norse, and the quantisers of a twin.
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
    """Return whether the membrane decays between steps.

    The attribute ``leaky`` of the module decides where its class does not.
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
    """Return the declared domain of a neuron; a node without one is measured once.

    Args:
        module: the neuron.
        known: neuron -> measured domain; the result is stored in it.
    """
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
    """Return whether the neuron keeps no state with a single step (integer neurons, 1 x D)."""
    return hasattr(module, 'levels') and hasattr(module, 'norm')


def fire(call: Call, x: Tensor, domain: SpikeDomain | None, leaky: bool, steps: int) -> None:
    """Count a neuron layer: x (T, *) -> ``call.out``.

    Every two neighbouring levels have one threshold between them: 1 for a binary neuron, 2 for a
    ternary neuron, D for counts.

    Args:
        call: call of the op or module.
        x: input of the neuron, (T, *).
        domain: spike domain of the output; None for real values.
        leaky: whether the membrane decays between steps.
        steps: number of time steps T.
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
        # a convolution of these maps needs the sum of every position later
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
    """Count the LIF op outside of a neuron module."""
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
    """Count rounding to counts: one step without memory."""
    args = call.args
    domain = counts(int(args['high']), 1 / args['norm'], signed=args['low'] < 0)
    fire(call, args['u'], domain, leaky=False, steps=max(1, call.tag(args['u']).steps))
