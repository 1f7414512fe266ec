from dataclasses import replace

import numpy as np
import pytest
from test_integer_network import BSA, MEAN, STD, classifier, pixels

import mmbsa.models  # noqa: F401  (registers everything)
from mmbsa.deploy.integer import IntegerNetwork, Rules, export_integer, layers
from mmbsa.deploy.integer.fixed import shift
from mmbsa.deploy.integer.graph_layers import _int8_planes
from mmbsa.deploy.integer.nodes import Graph
from mmbsa.deploy.integer.symbol import Symbol

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
#: operators that compute or move integers; none of them needs a real number.
OPERATORS = set(
    'Add And ArgMax BitShift Cast Clip Concat Equal Expand Gather GreaterOrEqual '
    'Identity MatMulInteger Max MaxPool Mul Or Pad ReduceMax ReduceSum Reshape Slice Sub '
    'Transpose Where'.split()
)


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


def draw(low, high, *shape, seed=0):
    return np.random.default_rng(seed).integers(low, high, shape, dtype=np.int64)


def compute(function, *arrays):
    """Run a function of symbols, which hold the bounds of the arrays, in onnxruntime."""
    helper, graph, inputs, feed = onnx.helper, Graph(), [], {}
    for index, x in enumerate(arrays):
        kind = onnx.TensorProto.INT32
        inputs.append(helper.make_tensor_value_info(f'x{index}', kind, x.shape))
        feed[f'x{index}'] = x.astype(np.int32)
    symbols = [
        Symbol(graph, name, np.int32, x.shape, x.min(), x.max()) for (name, x) in zip(feed, arrays)
    ]
    out = function(*symbols)
    graph.nodes.append(helper.make_node('Cast', [out.wide()], ['y'], to=onnx.TensorProto.INT64))
    y = helper.make_tensor_value_info('y', onnx.TensorProto.INT64, out.shape)
    model = helper.make_model(
        helper.make_graph(graph.nodes, 'g', inputs, [y], list(graph.constants.values())),
        opset_imports=[helper.make_opsetid('', 18)],
        ir_version=9,
    )
    found = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider']
    ).run(None, feed)[0]
    assert out.low <= found.min() and found.max() <= out.high, 'values outside of proven bounds'
    return found


def check(function, *arrays):
    """The graph's numbers are those of the same function on arrays."""
    expected = function(*arrays)
    found = compute(function, *arrays)
    assert found.shape == expected.shape and (found == expected).all()


@pytest.mark.parametrize('places', [0, 3, -2, np.array([1, 0, 5, -1]).reshape(-1, 1)])
def test_shift_and_sums(places):
    x, y = draw(-5000, 5000, 2, 4, 6), draw(-300, 900, 2, 4, 6, seed=1)
    check(lambda x: shift(x, places), x)
    check(lambda x, y: shift(x + 7, places) - shift(y - 3, places) + x, x, y)
    check(lambda x: np.stack([shift(x, places), -x]).max(0, keepdims=True), x)


@pytest.mark.parametrize('low, high', [(0, 4), (-2, 2), (0, 40)])
@pytest.mark.parametrize('fraction', [0, 1, 3])
def test_integer_neuron(low, high, fraction):
    x = np.arange(-400, 400)

    def neuron(x):
        bounds = low << fraction, high << fraction
        return layers.round_half_even(np.clip(shift(x + 1, 1), *bounds), fraction)

    check(neuron, x)
    check(lambda x: layers.round_half_even(x, fraction), x)


@pytest.mark.parametrize('signed', [False, True])
@pytest.mark.parametrize('reset', [0, 30, None])
@pytest.mark.parametrize('tau', [None, 2.0, 4 / 3])
def test_lif_in_integers(tau, reset, signed):
    leak = tau and layers.Leak('n', tau, Rules())

    def neuron(x):
        return layers.lif(x, leak, tau == 2.0, 128, reset, signed, 'n', 24)

    check(neuron, draw(-400, 400, 5, 3, 20))


@pytest.mark.parametrize('a, b', [(1, 100), (127, 127), (255, 70000), (3000, 5000), (1, 1 << 23)])
def test_products_of_any_width(a, b):
    check(layers.matmul, draw(-a, a + 1, 2, 5, 7), draw(-b, b + 1, 2, 7, 3, seed=1))
    check(layers.matmul, draw(0, a + 1, 2, 5, 7), draw(0, b + 1, 2, 7, 3, seed=1))


@pytest.mark.parametrize('n, d', [(1, 3), (64, 4), (256, 8), (49, 64), (7, 130)])
def test_shiftmax_of_any_size(n, d):
    """Every other query is silent; with 130 channels, the powers of a row span 261 bits."""
    q, k = draw(-1, 2, 2, 6, d), draw(-1, 2, 2, n, d, seed=1)
    k[0, 0] = q[0, 1]
    q[:, ::2] = 0
    v = draw(-2000, 2000, 2, n, 5, seed=2)
    check(lambda q, k, v: layers.shiftmax_attention(q, k, v, 8), q, k, v)
    score = q @ np.swapaxes(k, -1, -2)
    check(layers.exponent_of_sum, score.max(-1, keepdims=True) - score)


def test_shiftmax_sticky_bits_far_below():
    rows = [[0, 1, 2, 2, 300], [0, 0, 300, 299, 1], [0, 1, 1, 1, 60], [0, 1, 2, 3, 3]]
    for gaps in rows:
        check(layers.exponent_of_sum, np.array([gaps]))
    check(layers.exponent_of_sum, np.array([[0, *range(1, 70), 69], [0, *range(1, 71)]]))


def test_numpy_functions_move_symbols_as_arrays():
    """Of :mod:`mmbsa.deploy.integer.functions`; another one is refused by its name."""
    x, y = draw(-9, 9, 2, 3, 4), draw(-9, 9, 2, 3, 4, seed=1)
    check(lambda x: np.moveaxis(np.expand_dims(x, 1), 2, -1), x)
    check(lambda x: np.swapaxes(np.transpose(x, (2, 0, 1)), 0, -1), x)
    check(lambda x: np.take(np.broadcast_to(x, (5, 2, 3, 4)), [2, 0], -1), x)
    check(lambda x, y: np.concatenate([np.stack([x, y]), np.stack([y, x])], 1), x, y)
    check(lambda x, y: np.where(np.clip(x, -3, 3) >= 2, y, 0), x, y)
    with pytest.raises(ValueError, match='numpy.sort is not supported'):
        check(np.sort, x)


def test_pooling_and_resizing():
    x = draw(-1000, 1000, 1, 2, 7, 8)
    check(lambda x: layers.max_pool2d(x, (3, 3), (2, 2), (1, 1)), x)
    check(lambda x: layers.max_pool2d(x, (2, 3), (2, 1), (0, 1)), np.sign(x))
    for align in (False, True):
        check(lambda x, align=align: layers.bilinear(x, (10, 5), align), x)


@pytest.mark.parametrize('groups, stride', [(1, 1), (2, 2), (4, 1)])
def test_convolution_of_any_range(groups, stride):
    weight = draw(-127, 128, 8, 4 // groups, 3, 3, seed=1)

    def convolve(x):
        return layers.conv2d(x, weight, (stride, 1), (1, 2), (1, 1), groups)

    for low, high in ((0, 256), (-1, 2), (-128, 128), (3, 5)):
        check(convolve, draw(low, high, 2, 4, 7, 8))


@pytest.mark.parametrize(
    'family, kwargs, rules',
    [
        ('Spikformer', dict(num_steps=4), Rules()),
        ('Spikformer', dict(attention=BSA, num_steps=2), Rules(multiply=True, fraction=10)),
        ('SpikeDrivenTransformer', dict(num_steps=2), Rules(weight_bits=4)),
        ('Spikingformer', dict(num_steps=2), Rules(multiply=True)),
        ('ESpikeFormer', dict(num_steps=1), Rules(weight_bits=10)),
        ('ESpikeFormer', dict(attention=BSA, num_steps=1), Rules(guard=4)),
        ('ESpikeFormer', dict(attention=BSA, num_steps=2), Rules()),
    ],
)
def test_networks_are_bit_equal(family, kwargs, rules, tmp_path):
    network = IntegerNetwork(classifier(family, **kwargs), pixels(1), MEAN, STD, rules)
    path = tmp_path / 'integer.onnx'
    counts = export_integer(network, path, batch=3)
    assert set(counts) <= OPERATORS
    inferred = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True).graph
    kinds = {value.type.tensor_type.elem_type for value in inferred.value_info}
    kinds |= {tensor.data_type for tensor in inferred.initializer}
    names = {onnx.TensorProto.DataType.Name(kind) for kind in kinds}
    assert names <= {'BOOL', 'INT8', 'UINT8', 'INT32', 'UINT32', 'INT64', 'UINT64'}
    run = session(path)
    for seed in range(3):
        x = pixels(3, seed=seed)
        found, prediction = run.run(None, dict(pixels=x))
        expected = network.run(x)[0].data
        assert expected.std() > 1 and (found == expected).all()
        assert (prediction == network(x)).all()


def test_segmentor_is_bit_equal(tmp_path):
    pytest.importorskip('mmseg')
    from test_export import segmentor

    x = pixels(2)
    network = IntegerNetwork(segmentor(), x[:1], MEAN, STD)
    export_integer(network, tmp_path / 'integer.onnx', batch=2)
    found, prediction = session(tmp_path / 'integer.onnx').run(None, dict(pixels=x))
    expected = network.run(x)[0].data
    assert (found == expected).all() and (prediction == expected.argmax(1)).all()
    assert len(np.unique(prediction)) > 1


def test_a_checked_graph_says_whether_potentials_fit(tmp_path):
    """At a width at which the reference raises for one of two pictures, and only there."""
    x = np.concatenate([np.full((1, 3, 32, 32), 118, np.uint8), pixels(1)])
    network = IntegerNetwork(classifier('Spikformer', num_steps=1), x[:1], MEAN, STD)

    def fits(index, bits):
        network.rules = replace(network.rules, potential_bits=bits)
        try:
            network.run(x[index : index + 1])
        except OverflowError:
            return False
        return True

    bits = next(n for n in range(24, 2, -1) if fits(0, n) != fits(1, n))
    expected = [fits(0, bits), fits(1, bits)]
    export_integer(network, tmp_path / 'integer.onnx', checked=True)
    run = session(tmp_path / 'integer.onnx')
    found = [bool(run.run(['fits'], dict(pixels=x[i : i + 1]))[0]) for i in range(2)]
    assert found == expected


@pytest.mark.parametrize('bits', [8, 9, 12, 16, 24])
def test_wide_weights_are_sums_of_bytes(bits):
    weight = draw(-(1 << bits - 1), 1 << bits - 1, 4, 3, 2, 2)
    planes = _int8_planes(weight)
    assert len(planes) == -(-bits // 8) or bits in (8, 16)
    assert all(-128 <= plane.min() and plane.max() <= 127 for plane, _ in planes)
    assert (sum(plane << places for plane, places in planes) == weight).all()
