"""Export of networks as NIR graphs (Neuromorphic Intermediate Representation).

NIR: Pedersen et al., Nature Communications 2024.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """A tensor of the graph: the NIR nodes that sum to it, and whether it has binary spikes."""

    sources: tuple[str, ...]
    binary: bool = False


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
        self, node: Node, nir_node, inputs: _Value, suffix: str = '', binary: bool = False
    ) -> _Value:
        """Add a NIR node after ``inputs``; its name is that of the module, without dots.

        Args:
            node: node of the exported graph.
            nir_node: the NIR node.
            inputs: value that the node reads.
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
        return _Value((name,), binary)

    def refuse(self, node: Node, why: str) -> _Value:
        """Record an operation that NIR does not support, and continue to find all of them."""
        stack = list((node.meta.get('nn_module_stack') or {}).values())
        name, kind = (
            (stack[-1][0].removeprefix('model.'), str(stack[-1][1])) if stack else (node.name, '')
        )
        if 'IntegerNode' in kind:
            why = 'an integer neuron: NIR has binary spikes'
        self.unsaid.append(f'{name} ({why})')
        return _Value(())

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
        )

    def linear(self, node, values, x, weight, bias=None):
        numbers = self.array(weight)
        return self.insert(
            node, self.nir.Affine(numbers, self.array(bias, len(numbers))), values[x]
        )

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
        return self.insert(node, neuron, values[x], binary=True)

    def max_pool(self, node, values, x, kernel, stride=(), padding=(0, 0), *rest):
        if not values[x].binary:
            return self.refuse(node, 'the largest of values that are not binary')
        sizes = [
            np.array(tuple(value) * (2 // len(value)))
            for value in (kernel, stride or kernel, padding)
        ]
        total = self.insert(node, self.nir.SumPool2d(*sizes), values[x], '_sum')
        shape = tuple(node.meta['val'].shape[1:])  # one spike in the window exceeds 1/2
        return self.insert(
            node, self.nir.Threshold(np.full(shape, 0.5, np.float32)), total, '_any', binary=True
        )

    def add(self, node, values, a, b, alpha=1):
        if alpha != 1 or not all(isinstance(x, Node) and x in values for x in (a, b)):
            return self.refuse(node, 'a sum with a constant or a factor')
        return _Value(values[a].sources + values[b].sources)

    def mean(self, node, values, x, dims, keepdim=False, dtype=None):
        shape = x.meta['val'].shape
        dims = sorted(dim % len(shape) for dim in dims)
        if dims == [0]:
            return values[x]  # time: the graph has every step, see the metadata of the output
        if dims == [3] and len(shape) == 4:  # positions of (T, B, C, N)
            source = next(n for n in _ancestors(x) if n.meta['val'].dim() == 5)
            size = np.array(source.meta['val'].shape[-2:])
            pooled = self.insert(
                node, self.nir.AvgPool2d(size, size, np.zeros(2, int)), values[x], '_mean'
            )
            channels = int(shape[2])
            flat = self.nir.Flatten(dict(input=np.array([channels, 1, 1])), 0, -1)
            return self.insert(node, flat, pooled, '_flat')
        return self.refuse(node, f'a mean over axes {dims}')

    def visit(self, node: Node, values: dict[Node, _Value]) -> _Value:
        """Return the value of one call."""
        name = str(node.target)
        if name in self.handlers:
            return self.handlers[name](node, values, *node.args, **node.kwargs)
        short = name.removeprefix('aten.').removesuffix('.default')
        if name == '<built-in function getitem>' or short in _VIEWS:
            return values.get(node.args[0], _Value(()))
        if any(
            isinstance(arg, Node) and arg in values and values[arg].sources
            for arg in node.all_input_nodes
        ):
            return self.refuse(node, name.removesuffix('.default'))
        return _Value(())


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
    must compute a mean over time (metadata of the output). LIF neurons follow SpikingJelly's
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
            values[node] = writer.insert(node, nir.Input(dict(input=shape)), _Value(()), 'input')
        elif node.op == 'call_function' and '_assert' not in str(node.target):
            values[node] = writer.visit(node, values)
        elif node.op == 'output':
            outputs = node.args[0]
    if writer.unsaid:
        raise ValueError(
            f'{type(model).__name__} cannot be written as NIR: '
            f'{"; ".join(dict.fromkeys(writer.unsaid))}'
        )
    for index, node in enumerate(outputs):
        sizes = np.array(node.meta['val'].shape[1:])
        out = nir.Output(dict(output=sizes), metadata=dict(time='mean over steps'))
        writer.insert(node, out, values[node], f'output_{index}')
    result = nir.NIRGraph(writer.nodes, writer.edges, type_check=False)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        draft = Path(folder) / 'graph.nir'
        nir.write(draft, result)
        with atomic_open(path) as file:
            file.write(draft.read_bytes())
    return result
