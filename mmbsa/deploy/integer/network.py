"""A trained network as integers: its exported graph, run operation by operation on int64 arrays.

Pixels are uint8. After the first layer there are sums of weights, shifts, comparisons and rounding
without tables. Operations that a family computes with real numbers (softmax, a convolution of
potentials, a product of potentials) raise ValueError with their name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.fx import Node

from mmbsa.deploy.export import trace
from mmbsa.deploy.integer import handlers
from mmbsa.deploy.integer.fixed import Fixed, Rules
from mmbsa.models.layers import RepConv, Residual, SpikeConv, fuse


@dataclass
class Layer:
    """Description of one layer for the report; bits include the sign if there is one.

    Attributes:
        name: name of the module in the model.
        kind: ``conv``, ``linear``, ``lif``, ``integer neuron``, ``attention``, ...
        operations: kind of operation -> number in one forward of the example.
        bits: name of a quantity -> its width.
        memory: bytes of its weights and biases at their widths.
    """

    name: str
    kind: str
    operations: dict[str, int] = field(default_factory=dict)
    bits: dict[str, int] = field(default_factory=dict)
    memory: int = 0


def fold_scales(model: nn.Module) -> None:
    """Multiply the layer scales of residual branches into their last convolutions, in place."""
    for module in model.modules():
        if not isinstance(module, Residual) or module.scale is None:
            continue
        last = module.branch
        while isinstance(last, nn.Sequential) or hasattr(last, 'proj'):
            last = last.proj if hasattr(last, 'proj') else last[-1]
        conv = last.reduce if isinstance(last, RepConv) else getattr(last, 'conv', None)
        ends = isinstance(last, RepConv) or isinstance(last, SpikeConv) and not last.neuron_last
        if (
            ends
            and conv is not None
            and isinstance(getattr(last, 'norm', nn.Identity()), nn.Identity)
        ):
            conv.weight.mul_(module.scale.view(-1, 1, 1, 1))
            if conv.bias is not None:
                conv.bias.mul_(module.scale)
            module.scale = None


class IntegerNetwork:
    """An integer network; call it with uint8 pixels.

    Norms and layer scales are folded into weights, and RepConv chains are merged. Weights and
    biases are quantised once, while the example runs; later runs use integers only. ``report``
    lists the layers.

    Args:
        model: a trained classifier or segmentor, see :class:`mmbsa.deploy.export.Predictor`.
        example: uint8 pixels (B, C, H, W); the network takes maps of this size and any batch size.
        mean, std: mean and standard deviation per channel, in pixel values; None (default) uses
            those of the model's data preprocessor.
        rules: bit widths; None (default) uses the defaults of :class:`Rules`.

    Raises:
        ValueError: an operation has no integer form (the message names its module), there are no
            mean and std, or the example is not uint8 pixels.
        OverflowError: a width is too small; the message names the layer and the values.
    """

    def __init__(
        self,
        model: nn.Module,
        example: np.ndarray,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        rules: Rules | None = None,
    ):
        self.rules = rules or Rules()
        self.mean, self.std = (
            self._statistics(model, name, value, example)
            for name, value in (('mean', mean), ('std', std))
        )
        with torch.no_grad():
            folded = fuse(model, merge=True).float()
            fold_scales(folded)
        program = trace(folded, (torch.zeros(example.shape),))
        program.graph_module.graph.eliminate_dead_code()
        self._nodes = [
            node
            for node in program.graph_module.graph.nodes
            if '_assert' not in str(node.target) and 'sym_constrain' not in str(node.target)
        ]
        signature = program.graph_signature
        #: real-valued tensors, until a layer quantises them.
        self.source = {
            key: program.state_dict.get(name, program.constants.get(name))
            for found in (
                signature.inputs_to_parameters,
                signature.inputs_to_buffers,
                signature.inputs_to_lifted_tensor_constants,
            )
            for key, name in found.items()
        }
        self._inputs = set(signature.user_inputs)
        #: name of a node -> its quantised tensors.
        self.integers: dict[str, tuple] = {}
        self.report: list[Layer] | None = []
        self.shape = tuple(example.shape[1:])
        self.run(example)
        self.source, self._finished = {}, True

    @staticmethod
    def _statistics(
        model: nn.Module, name: str, value: Sequence[float] | None, example: np.ndarray
    ) -> np.ndarray:
        if value is None:
            value = getattr(getattr(model, 'data_preprocessor', None), name, None)
        if value is None:
            raise ValueError(
                f'IntegerNetwork: {type(model).__name__} has no data preprocessor with a {name}: '
                f'give {name}'
            )
        return np.broadcast_to(np.asarray(value, np.float64).reshape(-1), (example.shape[1],))

    def run(self, pixels: np.ndarray) -> list[Fixed]:
        """Run pixels (B, C, H, W) uint8 -> the outputs of the model, as integers with their format.

        Raises:
            ValueError: pixels have another type or size.
            OverflowError: a potential does not fit its width.
        """
        if pixels.dtype != np.uint8 or pixels.shape[1:] != self.shape:
            raise ValueError(
                f'IntegerNetwork: pixels must be uint8 (B, {", ".join(map(str, self.shape))}), got '
                f'{pixels.dtype} {pixels.shape}'
            )
        return self.forward(pixels.astype(np.int64))

    def forward(self, pixels) -> list[Fixed]:
        """Run without the checks of :meth:`run`, on int64 arrays or on graph symbols."""
        values: dict[Node, object] = {}
        for node in self._nodes:
            if node.op == 'placeholder':
                if node.name in self._inputs:
                    values[node] = handlers.Pixels(pixels, limit=255)
                else:
                    values[node] = handlers.Real(node.name, self.source.get(node.name))
            elif node.op == 'call_function':
                args, kwargs = torch.fx.map_arg((node.args, dict(node.kwargs)), values.__getitem__)
                values[node] = handlers.apply(self, node, args, kwargs)
            elif node.op == 'output':
                return list(torch.fx.map_arg(node.args[0], values.__getitem__))
        raise AssertionError('a graph without an output')

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the class with the largest integer score for pixels (B, C, H, W) uint8.

        The class is along axis 1 of the first output.
        """
        return self.run(pixels)[0].data.argmax(1)

    def note(
        self,
        node: Node,
        kind: str,
        operations: dict[str, int],
        bits: dict[str, int],
        memory: int = 0,
    ) -> None:
        """Add a layer to the report, while the example runs.

        Args:
            node: node of the graph.
            kind: kind of the layer.
            operations: kind of operation -> number.
            bits: name of a quantity -> its width.
            memory: bytes of weights and biases, 0 by default.
        """
        if not getattr(self, '_finished', False):
            self.report.append(Layer(handlers.module_of(node), kind, operations, bits, memory))

    def multiplications(self) -> list[str]:
        """Return the layers that multiply, with their number of multiplications in the example."""
        return [
            f'{layer.name} ({layer.kind}): {layer.operations["multiplications"]}'
            for layer in self.report
            if layer.operations.get('multiplications')
        ]

    def table(self) -> str:
        """Return the report as a Markdown table; operations are those of the example."""
        lines = ['| layer | kind | operations | bits | bytes |', '|---|---|---|---|---|']
        for layer in self.report:
            cells = (
                ', '.join(f'{key} {value}' for key, value in part.items())
                for part in (layer.operations, layer.bits)
            )
            lines.append(f'| {layer.name} | {layer.kind} | {" | ".join(cells)} | {layer.memory} |')
        return '\n'.join(lines)
