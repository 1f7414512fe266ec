"""Quantised twin of a spiking network: the same layers, one step, quantisers instead of neurons."""

import math
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from mmbsa.energy.counter import refuse_compiled
from mmbsa.energy.rules.neuron import domain_of_neuron, is_neuron
from mmbsa.energy.rules.quantiser import Quantiser
from mmbsa.spiking import SpikeDomain


def bits_for(steps: int, domain: SpikeDomain) -> int:
    """Return the bits that hold as many levels as a neuron can distinguish in T steps.

    The result is ceil(log2(T D + 1)), plus one bit for a sign. For binary spikes it is
    ceil(log2(T + 1)) (Yan, Bai and Wong, theorem 1).

    Args:
        steps: number of time steps T.
        domain: spike domain of the neuron, with the largest count D.
    """
    return math.ceil(math.log2(steps * domain.levels + 1)) + domain.signed


def steps_of(model: nn.Module) -> int:
    """Return T of the model's encoder; 1 if the model states none."""
    found: list[Any] = [getattr(module, 'num_steps', None) for module in model.modules()]
    return max((steps for steps in found if isinstance(steps, int)), default=1)


def quantised_twin(
    model: nn.Module, w_bits: int | None = 8, a_bits: int | None = None, steps: int | None = None
) -> nn.Module:
    """Return a copy of a spiking network in which quantisers replace the neurons (energy.md 4.6).

    The copy runs one time step. A neuron of D levels over T steps becomes a quantiser of T D
    levels, so both distinguish the same number of values. Its full scale is the input current at
    which the neuron fires at its maximum: threshold times D. Leaks and hard resets have no
    counterpart, so the twin matches the levels but is not equal to the network. The twin is not
    trained.

    Args:
        model: the spiking network; it is not changed.
        w_bits: bits of the weights of convolutions and linear layers, symmetric, with one scale per
            output; 8 by default, None keeps the weights.
        a_bits: bits of every activation; None (default) matches the levels of each neuron, see
            :func:`bits_for`.
        steps: number of time steps T; None (default) uses T of the model's encoder. It is required
            for models whose input has the time axis (T, B, ...); their twin takes the mean over T.

    Returns:
        The twin in evaluation mode. Its encoder averages event frames (B, T, ...) over T.

    Raises:
        ValueError: bits are too few (weights and signed activations: 2, otherwise 1), the model was
            compiled, or it has no neurons.
    """
    refuse_compiled(model)
    for name, bits, least in (('w_bits', w_bits, 2), ('a_bits', a_bits, 1)):
        if bits is not None and bits < least:
            raise ValueError(f'quantised_twin: {name} must be at least {least} or None, got {bits}')
    steps = steps_of(model) if steps is None else steps
    twin = deepcopy(model).eval().requires_grad_(False)
    known: dict = {}
    neurons = _outermost(twin)
    if not neurons:
        raise ValueError(f'quantised_twin: {type(model).__name__} has no spiking neuron')
    for name, neuron in neurons.items():
        domain = domain_of_neuron(neuron, known)
        if domain is None:
            continue
        bits = bits_for(steps, domain) if a_bits is None else a_bits
        levels = steps * domain.levels if a_bits is None else 2 ** (a_bits - domain.signed) - 1
        if levels < 1:
            raise ValueError(
                f'quantised_twin: a_bits={a_bits} leaves {name} no level besides 0; its spikes '
                'are signed'
            )
        scale = float(getattr(neuron, 'v_threshold', 1.0)) * domain.levels
        parent, _, child = name.rpartition('.')
        setattr(
            twin.get_submodule(parent) if parent else twin,
            child,
            Quantiser(bits, levels, scale, domain.levels * domain.unit / levels, domain.signed),
        )
    for module in twin.modules():
        if isinstance(getattr(module, 'num_steps', None), int):
            setattr(module, 'num_steps', 1)  # noqa: B010
            module.register_forward_pre_hook(_mean_over_time)
    if w_bits is not None:
        _quantise_weights(twin, w_bits)
    return twin


def _outermost(model: nn.Module) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if name and is_neuron(module) and not any(name.startswith(f'{outer}.') for outer in found):
            found[name] = module
    return found


def _mean_over_time(module: nn.Module, inputs: tuple) -> tuple | None:
    if inputs and isinstance(inputs[0], Tensor) and inputs[0].dim() == 5 and inputs[0].shape[1] > 1:
        return (inputs[0].mean(1, keepdim=True), *inputs[1:])
    return None


@torch.no_grad()
def _quantise_weights(model: nn.Module, bits: int) -> None:
    for module in model.modules():
        weight = getattr(module, 'weight', None)
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear) and isinstance(weight, Tensor):
            top = 2 ** (bits - 1) - 1
            peak = weight.flatten(1).abs().amax(1).clamp(min=torch.finfo(weight.dtype).tiny)
            unit = (peak / top).view(-1, *[1] * (weight.dim() - 1))
            weight.copy_((weight / unit).round() * unit)
