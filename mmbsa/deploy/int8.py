"""Static 8-bit graphs of onnxruntime, with exact spikes.

``export_onnx`` writes the float graph; :func:`export_int8` calibrates it. Spikes, their products
q k^T (if they fit into 8 bits) and the powers of Shiftmax down to 2^-7 are integer multiples of a
known step. :class:`KnownLevels` finds this step in the graph, and 8 bits represent these values
exactly. Every other tensor gets the scale of its measured
range. Rounding in an integer neuron and conversion to 8 bits are then one operation.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmbsa.deploy.export import quiet
from mmbsa.utils.files import atomic_open

#: operations that only move values.
_MOVES = frozenset(
    'Squeeze Unsqueeze Reshape Transpose Identity Flatten Gather Slice MaxPool Expand'.split()
)
#: data types of ONNX: float, float16, double and bfloat16.
_FLOATS = frozenset((1, 10, 11, 16))
_COMPARISONS = frozenset('Greater GreaterOrEqual Less LessOrEqual Equal And Or Not'.split())


@dataclass(frozen=True)
class Levels:
    """Values ``step * i`` with integers ``low <= i <= high``."""

    step: float
    low: int
    high: int

    def times(self, factor: float) -> 'Levels | None':
        """Return the levels of the values times a positive factor."""
        return Levels(self.step * factor, self.low, self.high) if factor > 0 else None

    def quantisation(self) -> dict | None:
        """Return scale and zero point of uint8 for all levels, or None if they do not fit."""
        zero = 0 if self.low >= 0 else 128
        if self.low + zero < 0 or self.high + zero > 255:
            return None
        return dict(scale=np.array(self.step, np.float32), zero_point=np.array(zero, np.uint8))


class KnownLevels:
    """The tensors of an ONNX graph whose values are known to be integer multiples of a step.

    Args:
        model: ``onnx.ModelProto`` with inferred shapes.
    """

    def __init__(self, model):
        import onnx

        graph = model.graph
        self.producers = {name: node for node in graph.node for name in node.output}
        self.constants = {x.name: x for x in graph.initializer}
        self.constants |= {
            node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == 'Constant'
        }
        self.sizes = {
            x.name: [d.dim_value for d in x.type.tensor_type.shape.dim]
            for x in (*graph.input, *graph.value_info, *graph.output)
        }
        self._to_array = onnx.numpy_helper.to_array

    def scalar(self, name: str) -> float | None:
        """Return the value of a constant with one element, or None."""
        if name not in self.constants:
            return None
        value = self._to_array(self.constants[name])
        return float(value.reshape(-1)[0]) if value.size == 1 else None

    def clip(self, name: str) -> tuple[float, float] | None:
        """Return the integer bounds of a Clip that computes the tensor, or None."""
        node = self.producers.get(name)
        if node is None or node.op_type != 'Clip' or len(node.input) != 3:
            return None
        bounds = [self.scalar(x) for x in node.input[1:]]
        whole = [x for x in bounds if x is not None and x == round(x)]
        return (whole[0], whole[1]) if len(whole) == 2 else None

    def levels(self, name: str) -> Levels | None:
        """Return the levels of a tensor, or None if its values are not known to have levels."""
        node = self.producers.get(name)
        if node is None:
            return None
        kind, inputs = node.op_type, node.input
        if kind in _MOVES:
            return self.levels(inputs[0])
        if kind == 'Concat':
            return self._joined(node)
        if kind == 'Cast':
            if node.attribute[0].i not in _FLOATS:
                return None
            source = self.producers.get(inputs[0])
            if source is not None and source.op_type in _COMPARISONS:
                return Levels(1.0, 0, 1)
            return self.levels(inputs[0])
        if kind in ('Mul', 'Div'):
            factor, values = self.scalar(inputs[1]), self.levels(inputs[0])
            if not factor or values is None:
                return None
            if self._power(self.producers[inputs[0]]) is not None:
                return values if math.frexp(factor)[0] == 0.5 else None  # the largest becomes 1
            return values.times(factor if kind == 'Mul' else 1 / factor)
        if kind in ('Round', 'Floor'):
            bounds = self.clip(inputs[0] if kind == 'Round' else self._before_half(inputs[0]))
            return bounds and Levels(1.0, int(bounds[0]), int(bounds[1]))
        if kind == 'Sub':
            return self._power(node) or self._difference(node)
        return self._product(node) if kind == 'MatMul' else None

    def _before_half(self, name: str) -> str:
        """Return the tensor to which 1/2 is added, so that Floor rounds halves up; '' for none."""
        node = self.producers.get(name)
        half = node is not None and node.op_type == 'Add' and self.scalar(node.input[1]) == 0.5
        return node.input[0] if half else ''

    def _power(self, node) -> Levels | None:
        """Return the levels of ``decompose._powers`` up to 1, which are 2^0 to 2^-7, and 0."""
        if node.op_type != 'Sub':
            return None
        add, large = (self.producers.get(x) for x in node.input)
        if add is None or large is None or add.op_type != 'Add' or large.op_type != 'Exp':
            return None
        small = self.producers.get(add.input[0])
        if add.input[1] != node.input[1] or small is None or small.op_type != 'Mul':
            return None
        ratio = self.scalar(small.input[1])
        known = ratio is not None and math.isclose(ratio, 1 / (1.5 * 2.0**23), rel_tol=1e-6)
        return Levels(2.0**-7, 0, 128) if known and small.input[0] == node.input[1] else None

    def _joined(self, node) -> Levels | None:
        parts = [self.levels(x) for x in node.input]
        first = parts[0]
        if first is None or any(x is None or x.step != first.step for x in parts):
            return None
        return Levels(first.step, min(x.low for x in parts), max(x.high for x in parts))

    def _difference(self, node) -> Levels | None:
        a, b = (self.levels(x) for x in node.input)
        if a is None or b is None or a.step != b.step:
            return None
        return Levels(a.step, a.low - b.high, a.high - b.low)

    def _product(self, node) -> Levels | None:
        a, b = (self.levels(x) for x in node.input)
        channels = (self.sizes.get(node.input[0]) or [0])[-1]
        if a is None or b is None or channels == 0:
            return None
        corners = [x * y * channels for x in (a.low, a.high) for y in (b.low, b.high)]
        return Levels(a.step * b.step, min(corners), max(corners))


def export_int8(graph: str | Path, batches: Sequence[Sequence[Tensor]], path: str | Path) -> None:
    """Write onnxruntime's static 8-bit version of a file of :func:`mmbsa.deploy.export_onnx`.

    Convolutions and matrix products have int8 weights (one scale per channel) and uint8
    activations; the other operations use floating point. Spikes are exact in uint8. The graph is
    fast, but it is not an integer network: membrane potentials are rounded with scales that are
    real numbers.

    Values outside of the measured ranges saturate. If height and width of the graph are dynamic,
    calibrate with the largest size that will be used.

    Args:
        graph: the float file.
        batches: inputs on which the ranges of activations are measured; each is a sequence of all
            inputs of the graph, float32.
        path: the file to write; it is written completely or not at all.

    Raises:
        FileNotFoundError: ``graph`` does not exist.
        ValueError: there are no batches, ``graph`` is not an ONNX file, or it cannot run on the
            batches.
        ImportError: onnxruntime is missing (the extra ``deploy``).
    """
    try:
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ImportError(
            f'export_int8 needs onnxruntime ({error}): pip install "mmbsa[deploy]"'
        ) from None
    if not batches:
        raise ValueError('export_int8: there are no batches for calibration')
    if not Path(graph).is_file():
        raise FileNotFoundError(f'export_int8: {graph} does not exist')
    try:
        names = [entry.name for entry in onnx.load(graph).graph.input]
    except Exception as error:  # protobuf raises its own type
        raise ValueError(f'export_int8: {graph} is not an ONNX file ({error})') from None
    for index, batch in enumerate(batches):
        if len(batch) != len(names) or any(x.dtype != torch.float32 for x in batch):
            raise ValueError(
                f'export_int8: {graph} has {len(names)} float32 inputs, but batch {index} has '
                f'{[(tuple(x.shape), x.dtype) for x in batch]}'
            )

    class Reader(quantization.CalibrationDataReader):
        feeds = iter([{name: x.numpy() for name, x in zip(names, b)} for b in batches])

        def get_next(self):
            return next(self.feeds, None)

    kinds = ['Conv', 'Gemm', 'MatMul']
    with tempfile.TemporaryDirectory() as folder, quiet():
        ready, draft = Path(folder) / 'ready.onnx', Path(folder) / 'draft.onnx'
        quant_pre_process(str(graph), str(ready), skip_symbolic_shape=True)
        exact = _exact(onnx.load(ready), kinds)
        try:
            quantization.quantize_static(
                str(ready),
                str(draft),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                op_types_to_quantize=kinds,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                extra_options=dict(TensorQuantOverrides=exact),
            )
        except Exception as error:  # onnxruntime raises many types
            shapes = [tuple(x.shape) for x in batches[0]]
            raise ValueError(
                f'export_int8: {graph} cannot be calibrated with inputs of shapes {shapes}: '
                f'{(str(error).splitlines() or [type(error).__name__])[0]}'
            ) from error
        model = onnx.load(draft)
        _join_rounding(model)
        with atomic_open(path) as file:
            file.write(model.SerializeToString())


def _exact(model, kinds: Sequence[str]) -> dict[str, list[dict]]:
    """Return tensor -> scale and zero point, for inputs and outputs of products with levels."""
    known, found = KnownLevels(model), {}
    for node in model.graph.node:
        if node.op_type in kinds:
            for name in (*node.input[:2], *node.output):
                levels = known.levels(name)
                parameters = levels and levels.quantisation()
                if parameters:
                    found[name] = [parameters]
    return found


def _join_rounding(model) -> None:
    """Let QuantizeLinear round the integer neurons; both round halves to even.

    Clip, Round, a factor and QuantizeLinear become Clip and QuantizeLinear with a scale of 1.
    """
    import onnx

    graph = model.graph
    known = KnownLevels(model)
    readers: dict[str, int] = {x.name: 1 for x in graph.output}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    removed: set[str] = set()
    for node in graph.node:
        if node.op_type != 'QuantizeLinear':
            continue
        path, name = [], node.input[0]
        while readers.get(name) == 1 and name in known.producers:
            path.append(known.producers[name])
            if path[-1].op_type not in (*_MOVES, 'Mul', 'Div'):
                break
            name = path[-1].input[0]
        if not path or path[-1].op_type != 'Round' or known.levels(node.input[0]) is None:
            continue
        if not math.isclose(
            known.scalar(node.input[1]) or 0.0, known.levels(node.input[0]).step, rel_tol=1e-6
        ):
            continue  # the levels did not fit into 8 bits
        arithmetic = [x for x in path if x.op_type not in _MOVES]
        kept = {x.output[0]: x for x in path if x.op_type in _MOVES}
        replaced = {x.output[0]: x.input[0] for x in arithmetic}
        for reader in (*kept.values(), node):
            while reader.input[0] in replaced:
                reader.input[0] = replaced[reader.input[0]]
        one = f'{node.output[0]}_step'
        graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1.0), one))
        node.input[1] = one
        removed |= {x.output[0] for x in arithmetic}
    kept_nodes = [x for x in graph.node if x.output[0] not in removed]
    del graph.node[:]
    graph.node.extend(kept_nodes)
