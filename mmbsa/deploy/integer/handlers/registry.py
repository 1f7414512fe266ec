"""Registry: operation of an exported graph -> function that computes it on integers."""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.fx import Node
from torch.utils._pytree import tree_leaves

from mmbsa.deploy.integer.fixed import Fixed, as_ratio, check_width, shift


@dataclass(frozen=True)
class Pixels(Fixed):
    """Raw pixels; the first convolution absorbs the normalisation.

    Args:
        channels: channel of every pixel, if they are not maps (..., C, H, W) or flat pictures
            (B, C H W); None otherwise.
    """

    channels: np.ndarray | None = None


@dataclass(frozen=True)
class Real:
    """A weight of the graph; the first layer that uses it quantises it."""

    name: str
    tensor: Tensor | None

    def numpy(self) -> np.ndarray:
        """float64."""
        return self.tensor.detach().double().numpy()


_HANDLERS: dict[str, Callable] = {}
#: operations that may read pixels: layers that take in mean and deviation, and moves of values.
_TAKE_PIXELS: set[str] = set()


def module_of(node: Node) -> str:
    """Return the name of the module that created a node of a graph."""
    stack = list((node.meta.get('nn_module_stack') or {}).values())
    name = stack[-1][0] if stack else node.name
    return name.removeprefix('model.') or node.name


def handles(*names: str, pixels: bool = False):
    """Return a decorator that registers the handler of ``aten`` or ``mmbsa`` operations.

    The handler is a function ``(network, node, *args, **kwargs)``.

    Args:
        names: names of the operations.
        pixels: whether they may read pixels that are not normalised; False by default.
    """

    def decorate(function: Callable) -> Callable:
        _HANDLERS.update(dict.fromkeys(names, function))
        _TAKE_PIXELS.update(names if pixels else ())
        return function

    return decorate


def refuse(node: Node, why: str) -> ValueError:
    """Return the ValueError for an operation without an integer form.

    Args:
        node: node of the operation.
        why: reason, for the message.
    """
    return ValueError(f'{module_of(node)}: {str(node.target)} has no integer form: {why}')


def apply(network, node: Node, args: tuple, kwargs: dict):
    """Run one node on integers.

    Args:
        network: the integer network.
        node: node of the exported graph.
        args, kwargs: arguments of the operation, with integers instead of tensors.
    """
    name = str(node.target).removesuffix('.default')
    if node.target is operator.getitem:
        return args[0][args[1]]
    leaves = tree_leaves((args, kwargs))
    if name in _HANDLERS:
        if name not in _TAKE_PIXELS and any(isinstance(x, Pixels) for x in leaves):
            raise refuse(node, 'it reads pixels before a convolution or a linear layer')
        try:
            return _HANDLERS[name](network, node, *args, **kwargs)
        except (AttributeError, IndexError, TypeError) as error:
            raise refuse(node, f'its arguments are not supported ({error})') from error
    if not any(isinstance(x, Fixed | Real) for x in leaves):
        return node.target(*args, **kwargs)  # arithmetic on sizes
    raise refuse(node, 'it is real-valued')


def plain(network, node: Node, x: Fixed, fraction: int | None = None) -> Fixed:
    """Return x as a potential with unit 1, rounded to the network's step or to ``fraction``.

    Args:
        network: the integer network.
        node: node of the operation, for messages.
        x: integers with their format.
        fraction: number of fractional bits of the result; None (default) uses that of the network.
    """
    fraction = network.rules.fraction if fraction is None else fraction
    data, places = x.data, x.fraction - fraction
    if x.unit != 1:
        if not network.rules.multiply:
            raise refuse(node, f'the factor {x.unit:g} is not a power of two; set multiply=True')
        factor, more = as_ratio(x.unit, network.rules.multiplier_bits)
        check_width(f'{module_of(node)}: product', data, 63 - network.rules.multiplier_bits)
        network.note(node, 'factor', dict(multiplications=data.size, shifts=data.size), {})
        data, places = data * factor, places + more
    data = shift(data, places)
    check_width(f'{module_of(node)}: potential', data, network.rules.room)
    return Fixed(data, fraction)
