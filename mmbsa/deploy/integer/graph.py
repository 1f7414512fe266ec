"""Export of an integer network as an ONNX graph of integer operators, bit-equal to the reference.

Products are MatMulInteger on 8-bit tensors. All other nodes are additions, BitShift, comparisons,
selections and moves of int32 tensors (int64 if the bounds need it).
"""

from pathlib import Path

import numpy as np

from mmbsa.deploy.export import OPSET
from mmbsa.deploy.integer import functions, graph_layers  # noqa: F401  (they register)
from mmbsa.deploy.integer.network import IntegerNetwork
from mmbsa.deploy.integer.nodes import Graph
from mmbsa.deploy.integer.symbol import Symbol
from mmbsa.utils.files import atomic_open


def export_integer(
    network: IntegerNetwork, path: str | Path, batch: int = 1, checked: bool = False
) -> dict[str, int]:
    """Write an integer network as an ONNX file.

    Input ``pixels`` (batch, C, H, W) uint8; outputs ``output_0``, ... int32 or int64, which are the
    integers of :meth:`IntegerNetwork.run`, and ``prediction`` int64, the arg max of the first one
    along axis 1. Where the reference raises OverflowError, the graph's output means nothing.

    Args:
        network: the network.
        path: the file; it is written completely or not at all.
        batch: number of maps, which is fixed in the file; 1 by default.
        checked: whether to add an output ``fits`` (bool), which is false if the reference raises
            OverflowError; default False. It computes the largest and the smallest value of every
            potential.

    Returns:
        The number of nodes by operator.

    Raises:
        ValueError: an operation has no form in the graph.
        ImportError: onnx is missing (the extra ``deploy``).
    """
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError as error:
        raise ImportError(
            f'export_integer needs onnx ({error}): pip install "mmbsa[deploy]"'
        ) from None
    graph, shape = Graph(), (batch, *network.shape)
    found = network.forward(Symbol(graph, 'pixels', np.uint8, shape, 0, 255))
    outputs, types = [], []
    for index, out in enumerate(found):
        part = out.data.settle()
        dtype = np.int64 if part.dtype == np.int64 else np.int32
        graph.nodes.append(helper.make_node('Identity', [part.cast(dtype)], [f'output_{index}']))
        outputs.append(f'output_{index}')
        types.append((dtype, part.shape))
    graph.nodes.append(helper.make_node('ArgMax', ['output_0'], ['prediction'], axis=1, keepdims=0))
    first = types[0][1]
    outputs.append('prediction')
    types.append((np.int64, (first[0], *first[2:])))
    if checked:
        graph.nodes.append(helper.make_node('Identity', [_fits(graph)], ['fits']))
        outputs.append('fits')
        types.append((np.bool_, ()))
    nodes = _needed(graph.nodes, set(outputs))
    used = {name for node in nodes for name in node.input}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            'integer',
            [helper.make_tensor_value_info('pixels', TensorProto.UINT8, shape)],
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), size
                )
                for name, (dtype, size) in zip(outputs, types)
            ],
            [tensor for name, tensor in graph.constants.items() if name in used],
        ),
        opset_imports=[helper.make_opsetid('', OPSET)],
        ir_version=9,
        producer_name='mmbsa',
    )
    onnx.checker.check_model(model)
    with atomic_open(path) as file:
        file.write(model.SerializeToString())
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))


def _fits(graph: Graph) -> str:
    """Name of a boolean: whether all potentials fit their widths."""
    result = graph.constant(True, np.bool_)
    for value, bits in list(graph.checks):
        part, most = value.settle(), (1 << (bits - 1)) - 1
        if not np.can_cast(part.dtype, np.int64) or most >= np.iinfo(part.dtype).max:
            continue
        low, high = (graph.constant(bound, part.dtype) for bound in (-most - 1, most))
        for op, inputs in (('ReduceMin', [low]), ('ReduceMax', [high])):
            inputs.append(graph.add(op, [part.name], keepdims=0))
            inputs = inputs[::-1] if op == 'ReduceMin' else inputs
            result = graph.add('And', [result, graph.add('GreaterOrEqual', inputs)])
    return result


def _needed(nodes: list, wanted: set[str]) -> list:
    """Return the nodes on which the outputs depend, in order."""
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]
