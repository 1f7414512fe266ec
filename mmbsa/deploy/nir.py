"""Export of networks as NIR graphs (Neuromorphic Intermediate Representation).

NIR: Pedersen et al., Nature Communications 2024.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from mmbsa.deploy.export import trace
from mmbsa.models.layers import fuse
from mmbsa.utils.files import atomic_open

#: operations that move the axes of time, batch and positions and do not change values.
_VIEWS = (
    'unsqueeze',
    'squeeze.dim',
    'flatten.using_ints',
    'unflatten.int',
    'expand',
    'expand_as',
    'select.int',
    'slice.Tensor',
    'contiguous',
    'clone',
    'detach',
    'permute',
    'to.dtype',
    'alias',
    'transpose.int',
    'view',
    'reshape',
)


@dataclass(frozen=True)
class _Value:
    """A tensor that depends on the input.

    Attributes:
        sources: the NIR nodes that sum to it; none after an operation that NIR does not support.
        shape: shape of one step of one sample: (C, H, W), or (C,).
        binary: whether it has binary spikes.
        averaged: whether it is a mean over time.
        constant: whether it is the same at every step, as before the first neuron.
    """

    sources: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    binary: bool = False
    averaged: bool = False
    constant: bool = False

    @property
    def features(self) -> int:
        """Numbers of one step of one sample, which follow the axes of time and batch."""
        return math.prod(self.shape)


class _Writer:
    """Reads an exported graph and collects NIR nodes, edges, and unsupported operations."""

    def __init__(self, tensors: dict[str, Tensor], dt: float):
        import nir

        self.nir, self.tensors, self.dt = nir, tensors, dt
        self.nodes, self.edges, self.unsaid = {}, [], []
        self.handlers: dict[str, Callable] = {
            'aten.conv2d.default': self.conv,
            'aten.linear.default': self.linear,
            'mmbsa.lif.default': self.lif,
            'aten.max_pool2d.default': self.max_pool,
            'aten.add.Tensor': self.add,
            'aten.mean.dim': self.mean,
        }

    def insert(
        self,
        node: Node,
        nir_node,
        inputs: _Value,
        shape: Sequence[int],
        suffix: str = '',
        binary: bool = False,
    ) -> _Value:
        """Add a NIR node after ``inputs``; its name is that of the module, without dots.

        Args:
            node: node of the exported graph.
            nir_node: the NIR node.
            inputs: value that the node reads.
            shape: shape of its output for one step of one sample.
            suffix: text added to the name; empty by default.
            binary: whether the output has binary spikes; False by default.
        """
        stack = list((node.meta.get('nn_module_stack') or {}).values())
        base = (stack[-1][0].removeprefix('model.') if stack else '').replace('.', '_') or node.name
        name = f'{base}{suffix}'
        while name in self.nodes:
            name += '_'
        self.nodes[name] = nir_node
        self.edges += [(source, name) for source in inputs.sources]
        return _Value((name,), tuple(map(int, shape)), binary, inputs.averaged, inputs.constant)

    def refuse(self, node: Node, why: str) -> _Value:
        """Record an operation that NIR does not support, and continue to find all of them."""
        stack = list((node.meta.get('nn_module_stack') or {}).values())
        name, kind = (
            (stack[-1][0].removeprefix('model.'), str(stack[-1][1])) if stack else (node.name, '')
        )
        if 'IntegerNode' in kind:
            why = 'an integer neuron: NIR has binary spikes'
        self.unsaid.append(f'{name} ({why})')
        return _Value()

    def array(self, node: Node | None, size: int = 0) -> np.ndarray:
        """Return the numbers of a weight; zeros without one.

        Args:
            node: node of the weight; None without a weight.
            size: number of zeros without a weight; 0 by default.
        """
        return (
            np.zeros(size, np.float32)
            if node is None
            else self.tensors[node.name].detach().float().numpy()
        )

    def conv(
        self,
        node,
        values,
        x,
        weight,
        bias=None,
        stride=(1, 1),
        padding=(0, 0),
        dilation=(1, 1),
        groups=1,
    ):
        numbers = self.array(weight)
        pairs = [tuple(value) * (2 // len(value)) for value in (stride, padding, dilation)]
        sizes = tuple(x.meta['val'].shape[-2:])
        return self.insert(
            node,
            self.nir.Conv2d(sizes, numbers, *pairs, groups, self.array(bias, len(numbers))),
            values[x],
            node.meta['val'].shape[-3:],
        )

    def linear(self, node, values, x, weight, bias=None):
        numbers = self.array(weight)
        if values[x].sources and values[x].features != numbers.shape[1]:
            return self.refuse(node, 'a linear layer at every position')
        value = values[x]
        if len(value.shape) > 1:
            flat = self.nir.Flatten(dict(input=np.array(value.shape)), 0, -1)
            value = self.insert(node, flat, value, (value.features,), '_flat')
        affine = self.nir.Affine(numbers, self.array(bias, len(numbers)))
        return self.insert(node, affine, value, (len(numbers),))

    def lif(
        self,
        node,
        values,
        x,
        v0,
        tau,
        decay_input,
        v_threshold,
        v_reset,
        detach_reset,
        surrogate,
        alpha,
        signed,
        impl,
    ):
        if signed or v_reset is None or v0 is not None:
            why = (
                'ternary spikes'
                if signed
                else 'a reset by subtraction'
                if v_reset is None
                else 'an initial membrane'
            )
            return self.refuse(node, f'{why}: NIR has binary spikes and hard resets from rest')
        if values[x].averaged:
            return self.refuse(node, 'a neuron after a mean over time')
        shape = tuple(x.meta['val'].shape[2:])
        shape = shape[:1] if shape[1:] == (1, 1) else shape

        def full(value: float) -> np.ndarray:
            return np.full(shape, value, np.float32)

        metadata = dict(metadata=dict(fires='v >= v_threshold', dt=self.dt))
        if tau is None:
            neuron = self.nir.IF(full(1 / self.dt), full(v_threshold), full(v_reset), **metadata)
        else:
            neuron = self.nir.LIF(
                full(tau * self.dt),
                full(1.0 if decay_input else tau),
                full(v_reset),
                full(v_threshold),
                full(v_reset),
                **metadata,
            )
        return self.insert(
            node, neuron, replace(values[x], constant=False), values[x].shape, binary=True
        )

    def max_pool(
        self,
        node,
        values,
        x,
        kernel,
        stride=(),
        padding=(0, 0),
        dilation=(1, 1),
        ceil_mode=False,
    ):
        if values[x].sources and (not values[x].binary or values[x].averaged):
            return self.refuse(node, 'the largest of values that are not binary')
        if set(dilation) != {1} or ceil_mode:
            return self.refuse(node, 'dilation and ceil_mode')
        sizes = [
            np.array(tuple(value) * (2 // len(value)))
            for value in (kernel, stride or kernel, padding)
        ]
        shape = tuple(node.meta['val'].shape[1:])  # one spike in the window exceeds 1/2
        total = self.insert(node, self.nir.SumPool2d(*sizes), values[x], shape, '_sum')
        threshold = self.nir.Threshold(np.full(shape, 0.5, np.float32))
        return self.insert(node, threshold, total, shape, '_any', binary=True)

    def add(self, node, values, a, b, alpha=1):
        if alpha != 1 or not all(isinstance(x, Node) and x in values for x in (a, b)):
            return self.refuse(node, 'a sum with a constant or a factor')
        a, b = values[a], values[b]
        if not a.sources or not b.sources:  # refused before
            return _Value()
        if set(a.sources) & set(b.sources):
            return self.refuse(node, 'a value is added to itself')
        if a.averaged != b.averaged or a.features != b.features:
            return self.refuse(node, 'a sum of values of different shapes or times')
        return _Value(a.sources + b.sources, a.shape, False, a.averaged, a.constant and b.constant)

    def mean(self, node, values, x, dims, keepdim=False, dtype=None):
        shape = x.meta['val'].shape
        dims, value = sorted(dim % len(shape) for dim in dims), values[x]
        if not value.sources:
            return _Value()
        if dims == [0] and math.prod(shape[2:]) == value.features:
            # time: the graph has every step, see the metadata of the output
            return replace(value, binary=False, averaged=True)
        if dims == [3] and len(shape) == 4:  # positions of (T, B, C, N)
            source = next(n for n in _ancestors(x) if n.meta['val'].dim() == 5)
            size = np.array(source.meta['val'].shape[-2:])
            channels = int(shape[2])
            pool = self.nir.AvgPool2d(size, size, np.zeros(2, int))
            pooled = self.insert(node, pool, value, (channels, 1, 1), '_mean')
            flat = self.nir.Flatten(dict(input=np.array([channels, 1, 1])), 0, -1)
            return self.insert(node, flat, pooled, (channels,), '_flat')
        return self.refuse(node, f'a mean over axes {dims}')

    def view(self, node: Node, value: _Value) -> _Value:
        """Return the value of a view; it must keep the steps and the order of the features."""
        x = node.args[0].meta['val']
        if not value.sources or 'val' not in node.meta:
            return value
        kept = torch.arange(value.features)
        ids = kept.repeat(x.numel() // value.features).reshape(x.shape)
        others = [torch.empty(a.meta['val'].shape) if isinstance(a, Node) else a for a in node.args]
        out = node.target(ids, *others[1:], **node.kwargs).flatten()
        rows = len(out) // value.features
        if len(out) < x.numel() and not value.constant or not torch.equal(out, kept.repeat(rows)):
            what = str(node.target).removeprefix('aten.').removesuffix('.default')
            return self.refuse(node, f'{what} selects or reorders steps, channels or positions')
        return value

    def visit(self, node: Node, values: dict[Node, _Value]) -> _Value | None:
        """Return the value of one call; None if it does not depend on the input."""
        name = str(node.target)
        if not any(values.get(arg) is not None for arg in node.all_input_nodes):
            return None
        if values.get(node.args[0]) is None:
            return self.refuse(node, 'an operation on a constant and the input')
        if name in self.handlers:
            return self.handlers[name](node, values, *node.args, **node.kwargs)
        if name == '<built-in function getitem>':
            return values[node.args[0]]
        if name.removeprefix('aten.').removesuffix('.default') in _VIEWS:
            return self.view(node, values[node.args[0]])
        return self.refuse(node, name.removesuffix('.default'))


def _ancestors(node: Node):
    while isinstance(node, Node):
        yield node
        node = node.args[0] if node.args else None


def export_nir(
    model: nn.Module, example_inputs: Sequence[Tensor], path: str | Path, dt: float = 1e-4
):
    """Write a network as a NIR graph with folded norms and merged RepConv chains.

    NIR has neither batch nor T: the graph describes one step of one sample. Sums are several edges
    to one node, pooled binary spikes are ``SumPool2d`` and ``Threshold`` at 1/2, and the reader
    must compute a mean over time if the metadata of the output say so. Views must keep the order of
    channels and positions. LIF neurons follow SpikingJelly's
    conventions: ``tau = tau * dt``, ``r = 1`` if the input decays, else ``r = tau``. NIR's neurons
    fire at v > threshold, those of mmbsa at v >= threshold; metadata of the neuron states this.
    Grouped convolutions keep their groups. The type check of nir 1.0.8 expects C / groups input
    channels for them, so files with grouped convolutions are read with
    ``nir.read(path, type_check=False)``.

    Args:
        model: see :class:`mmbsa.deploy.export.Predictor`.
        example_inputs: one tensor (B, C, H, W).
        path: the file; it is written completely or not at all.
        dt: duration of a time step in seconds, 1e-4 by default.

    Returns:
        The ``nir.NIRGraph``.

    Raises:
        ValueError: NIR does not support some modules; the message names all of them, with the
            reason.
        ImportError: the package nir is missing (the extra ``deploy``).
    """
    try:
        import nir
    except ImportError as error:
        raise ImportError(f'export_nir needs nir ({error}): pip install "mmbsa[deploy]"') from None
    shapes = [tuple(x.shape) for x in example_inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ValueError(f'export_nir needs one input (B, C, H, W), got {shapes}')
    program = trace(fuse(model, merge=True), example_inputs, ())
    graph, signature = program.graph_module.graph, program.graph_signature
    graph.eliminate_dead_code()
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    writer, values, outputs = (
        _Writer({key: program.state_dict.get(name) for key, name in names.items()}, dt),
        {},
        (),
    )
    for node in graph.nodes:
        if node.op == 'placeholder' and node.name in signature.user_inputs:
            shape = np.array(node.meta['val'].shape[1:])
            entry = nir.Input(dict(input=shape))
            start = _Value(constant=True)
            values[node] = writer.insert(node, entry, start, shape, 'input')
        elif node.op == 'call_function' and '_assert' not in str(node.target):
            value = writer.visit(node, values)
            if value is not None:
                values[node] = value
        elif node.op == 'output':
            outputs = node.args[0]
    if writer.unsaid:
        raise ValueError(
            f'{type(model).__name__} cannot be written as NIR: '
            f'{"; ".join(dict.fromkeys(writer.unsaid))}'
        )
    for index, node in enumerate(outputs):
        sizes = np.array(node.meta['val'].shape[1:])
        time = 'mean over steps' if values[node].averaged else 'every step'
        out = nir.Output(dict(output=sizes), metadata=dict(time=time))
        writer.insert(node, out, values[node], values[node].shape, f'output_{index}')
    result = nir.NIRGraph(writer.nodes, writer.edges, type_check=False)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        draft = Path(folder) / 'graph.nir'
        nir.write(draft, result)
        with atomic_open(path) as file:
            file.write(draft.read_bytes())
    return result
