import itertools
import math
import sys

import pytest
import torch

from mmbsa.deploy.decompose import TABLE, _powers, decompose, own_ops
from mmbsa.ops import bipolar_attention, integer_spike, lif

OPS = torch.ops.mmbsa


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same(found, expected):
    """Equal shapes, dtypes and bits, tensor by tensor."""
    found, expected = (x if isinstance(x, tuple) else (x,) for x in (found, expected))
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)), (a - b).abs().max()


def test_table_covers_every_op_with_a_forward():
    names = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith('mmbsa::')}
    assert {str(op._schema.name) for op in TABLE} == {
        name for name in names if not name.endswith('_bwd')
    }


@pytest.mark.parametrize(
    'tau, decay_input', [(2.0, True), (4 / 3, False), (None, True), (1.5, True)]
)
@pytest.mark.parametrize('v_reset', [0.0, -0.25, None])
@pytest.mark.parametrize('signed', [False, True])
@pytest.mark.parametrize('carried', [False, True])
def test_decomposed_lif_equals_the_op(tau, decay_input, v_reset, signed, carried):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = (torch.randn(3, 2, 5, generator=generator()) * 2).to(dtype)
        x[0, 0] = torch.tensor([1.0, -1.0, 2.0, -2.0, 0.0])  # at the thresholds
        v0 = torch.randn(2, 5, generator=generator(1)).to(
            torch.float64 if dtype == torch.float64 else torch.float32
        )
        args = (
            x,
            v0 if carried else None,
            tau,
            decay_input,
            1.0,
            v_reset,
            True,
            'sigmoid',
            4.0,
            signed,
        )
        same(TABLE[OPS.lif.default](*args, 'auto'), OPS.lif(*args, 'reference'))
        same(TABLE[OPS.lif.default](*args, 'auto'), OPS.lif(*args, 'auto'))


@pytest.mark.parametrize(
    'half_up, inclusive, norm', itertools.product([False, True], [False, True], [1.0, 4.0, 3.0])
)
def test_integer_spike(half_up, inclusive, norm):
    u = torch.cat(
        [
            torch.arange(-6, 6.5, 0.5),
            torch.randn(40, generator=generator()) * 4,
            torch.tensor([1e9, -1e9]),
        ]
    )
    for low in (0.0, -4.0):
        args = (u[None], low, 4.0, norm, half_up, inclusive)
        for keep in ([], [0], [2]):
            found = TABLE[OPS.integer_spike.default](*args, 'auto', *keep)
            same(found, OPS.integer_spike(*args, 'auto', *keep))


def rows(kind, n, d, seed=0):
    """q and k (2, 2, n, d) of a product."""
    low, high = dict(ternary=(-1, 2), binary=(0, 2), real=(0, 5))[kind]
    g = generator(seed)
    return (torch.randint(low, high, (2, 2, n, d), generator=g).float() for _ in range(2))


@pytest.mark.parametrize('product', ['ternary', 'binary', 'real'])
@pytest.mark.parametrize('n, d', [(1, 3), (64, 8), (256, 4), (49, 64), (20, 100), (33, 130)])
def test_shiftmax_attention_is_exact(product, n, d):
    """Silent queries at n = 64 and 256 sum to a power of two exactly."""
    q, k = rows(product, n, d)
    q[0, :, ::2] = 0
    v = torch.randn(2, 2, n, 5, generator=generator(2))
    args = (q, k, v, product, 'shiftmax', 1.0, 'ste')
    out, g, total = TABLE[OPS.bipolar_attention.default](*args, 'auto')
    for impl in ('reference', 'auto'):
        expected, g_expected, total_expected = OPS.bipolar_attention(*args, impl)
        assert torch.equal(g, g_expected)
        if product == 'real' and impl == 'auto':
            # kernels weigh real scores by an approximate power; tests/test_ops says how near it is
            continue
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(total, total_expected)


@pytest.mark.parametrize('dtype, lowest', [(torch.float32, -140), (torch.float64, -300)])
def test_powers_of_approximate_logarithms_are_exact(dtype, lowest):
    exponent = torch.arange(lowest, 61, dtype=torch.float64)
    expected = torch.exp2(exponent).to(dtype)
    for error in (-0.3, -1e-3, 0.0, 1e-3, 0.25):
        ln = (exponent * math.log(2) + error).to(dtype)
        assert torch.equal(_powers(ln - 1.0, 1.0), expected)


def test_shiftmax_attention_of_very_different_scores():
    """Every pair of the gaps 0 to 2 d: half of the powers of two, one key alone, and a carry."""
    for d in (64, 100, 115, 120):
        gaps = [*range(2 * d + 1), 2 * d]  # the sum is exactly 2 if the last gap stands twice
        for last in (gaps, gaps[:-1], [0, 2 * d], [0, 2 * d, 2 * d]):
            keys = torch.ones(1, 1, len(last), d)
            for key, gap in enumerate(last):
                keys[0, 0, key, : gap // 2] = -1
                if gap % 2:
                    keys[0, 0, key, gap // 2] = 0
            args = (torch.ones(1, 1, 1, d), keys, torch.ones(1, 1, len(last), 1))
            _, g, _ = TABLE[OPS.bipolar_attention.default](
                *args, 'ternary', 'shiftmax', 1.0, 'ste', 'auto'
            )
            assert g.item() == d + 1, (d, len(last))


def test_shiftmax_attention_one_key_above_a_power_of_two():
    """Four keys that weigh 1 in all, and one at the largest gap, which must raise g; gaps of 2 d =
    128."""
    d = 64
    q = torch.ones(1, 1, 1, d)
    k = torch.ones(1, 1, 3, d)
    k[..., 1, :1] = 0  # gap 1
    k[..., 2, :1] = 0
    v = torch.randn(1, 1, 3, 2)
    far = torch.cat([k, -torch.ones(1, 1, 1, d)], 2)  # gap 128
    for keys, values, expected in ((k, v, d + 1), (far, torch.cat([v, v[:, :, :1]], 2), d + 2)):
        _, g, _ = TABLE[OPS.bipolar_attention.default](
            q, keys, values, 'ternary', 'shiftmax', 1.0, 'ste', 'auto'
        )
        assert g.item() == expected
        assert (
            OPS.bipolar_attention(q, keys, values, 'ternary', 'shiftmax', 1.0, 'ste', 'reference')[
                1
            ].item()
            == expected
        )


@pytest.mark.parametrize(
    'normalizer, scale', [('none', 1.0), ('none', 0.125), ('softmax', 0.3), ('shiftmax', 0.5)]
)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_other_normalizers(normalizer, scale, dtype):
    q, k = (x.to(dtype) for x in rows('ternary', 20, 8))
    v = torch.randn(2, 2, 20, 6, generator=generator(2), dtype=dtype)
    args = (q, k, v, 'ternary', normalizer, scale, 'ste')
    for found, expected in zip(
        TABLE[OPS.bipolar_attention.default](*args, 'auto'),
        OPS.bipolar_attention(*args, 'reference'),
    ):
        torch.testing.assert_close(found, expected)


def edge_rows():
    yield torch.zeros(2, 64), -1
    yield torch.zeros(3, 256), 1
    yield (
        torch.tensor(
            [[0.0, -1, -2, -2], [0.0, -1, -2, -3], [5, 5, 5, -900.0], [0.0, -torch.inf, -1, -1]]
        ),
        -1,
    )
    yield torch.tensor([[0.0, -40.0, -80.0], [0.0, 0.0, -90.0]]), -1
    yield (
        torch.cat([torch.zeros(1), -torch.arange(1.0, 60), torch.tensor([-59.0])])[None],
        -1,
    )  # a carry through 59 bits
    yield torch.cat([torch.zeros(1), -torch.arange(1.0, 60), torch.tensor([-60.0])])[None], -1
    yield torch.randint(-30, 30, (4, 17, 3), generator=generator()), 1
    yield torch.randn(5, 12, generator=generator()) * 20, -1
    yield torch.full((1, 3), -torch.inf), -1


@pytest.mark.parametrize('case', range(9))
def test_decomposed_shiftmax_equals_the_op(case):
    x, dim = list(edge_rows())[case]
    dim = 0 if dim == 1 and x.dim() == 2 and x.shape[0] == 3 else dim
    same(
        TABLE[OPS.shiftmax.default](x, dim, 'ste', 'auto'), OPS.shiftmax(x, dim, 'ste', 'reference')
    )


def test_conv_weight_grad():
    x, grad = (
        torch.randn(2, 4, 7, 7, generator=generator()),
        torch.randn(2, 6, 4, 4, generator=generator(1)),
    )
    args = (x, grad, [3, 3], [2, 2], [1, 1], 2, False)
    torch.testing.assert_close(
        TABLE[OPS.conv_weight_grad.default](*args, 'auto'), OPS.conv_weight_grad(*args, 'reference')
    )


class Everything(torch.nn.Module):
    """Our ops in one graph."""

    def forward(self, x):
        s = lif(x, signed=True)
        spikes, v = lif(x, torch.zeros_like(x[0]))
        out = bipolar_attention(s, s, x + v)
        return (
            out + torch.ops.mmbsa.integer_spike(out, 0.0, 4.0, 1.0, False, True, 'auto')[0] + spikes
        )


def test_decompose_leaves_no_own_op():
    model, x = Everything(), torch.randn(2, 3, 4, 8, generator=generator())
    batch, tokens = torch.export.Dim('batch'), torch.export.Dim('tokens', min=2, max=512)
    exported = torch.export.export(model, (x,), dynamic_shapes=({1: batch, 2: tokens},))
    assert own_ops(exported) == [
        f'mmbsa.{name}.default' for name in ('bipolar_attention', 'integer_spike', 'lif')
    ]
    plain = decompose(exported)
    assert own_ops(plain) == []
    for shape in (x.shape, (2, 5, 64, 8)):
        y = torch.randn(shape, generator=generator(3))
        torch.testing.assert_close(plain.module()(y), model(y))


def test_decompose_names_an_op_without_a_plain_version(monkeypatch):
    monkeypatch.setattr(sys.modules['mmbsa.deploy.decompose'], 'TABLE', {})
    exported = torch.export.export(Everything(), (torch.randn(2, 3, 4, 8),))
    with pytest.raises(ValueError, match='no plain version of mmbsa.bipolar_attention.default'):
        decompose(exported)


def test_integer_spike_of_the_public_function():
    u = torch.randn(3, 4, generator=generator())
    assert torch.equal(
        integer_spike(u, 2),
        TABLE[OPS.integer_spike.default](u, 0.0, 2.0, 1.0, False, True, 'auto')[0],
    )
