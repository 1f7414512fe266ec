"""Nodes, constants and types of the ONNX graph of an integer network."""

from collections.abc import Sequence

import numpy as np


class Graph:
    """Nodes and constants of an ONNX graph in the order in which they were written."""

    def __init__(self):
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self.nodes, self.constants = [], {}
        self._named: dict[tuple, str] = {}
        #: values that the reference checks, and the bits that they must fit.
        self.checks: list[tuple[object, int]] = []

    def constant(self, value, dtype) -> str:
        """Store a constant and return its name; equal constants are stored once.

        Args:
            value: value of the constant.
            dtype: its type in the graph.
        """
        value = np.asarray(value)
        array = np.ascontiguousarray(value.astype(dtype)).reshape(value.shape)
        assert (array == value).all(), 'a constant does not fit its type'
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._named:
            name = self._named[key] = f'c{len(self.constants)}'
            self.constants[name] = self._numpy_helper.from_array(array, name)
        return self._named[key]

    def add(self, op: str, inputs: Sequence[str], **attributes) -> str:
        """Write a node and return the name of its output.

        Args:
            op: name of the ONNX operator.
            inputs: names of its inputs.
            attributes: its attributes.
        """
        name = f'{op.lower()}_{len(self.nodes)}'
        self.nodes.append(self._helper.make_node(op, list(inputs), [name], name, **attributes))
        return name


def int_type(low: int, high: int) -> np.dtype:
    """Return the type of sums and shifts between these bounds.

    Args:
        low, high: smallest and largest value.

    Raises:
        OverflowError: no 64-bit type holds them.
    """
    for dtype in (np.int32, np.int64):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise OverflowError(f'integer graph: values {low} .. {high} do not fit 64 bits')


def lowest(constant) -> int:
    """The least element."""
    return int(np.min(constant))


def highest(constant) -> int:
    """The largest element."""
    return int(np.max(constant))


def const(value) -> np.ndarray:
    """An int64 array without leading axes of length 1."""
    value = np.asarray(value, np.int64)
    while value.ndim and value.shape[0] == 1:
        value = value[0]
    return np.asarray(value)
