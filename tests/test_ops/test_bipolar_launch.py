"""Sizes that the Triton kernels of bipolar attention get."""

import pytest
import torch

from mmbsa.ops.bipolar_attention import launch


@pytest.mark.parametrize('dtype, least', [(torch.int8, 32), (torch.float32, 16)])
def test_channels_are_padded_to_sizes_of_matrix_units(dtype, least):
    for d, d_v, padded, padded_v in ((3, 4, least, 16), (32, 17, 32, 32), (33, 64, 64, 64)):
        q, k = (torch.zeros(2, 3, n, d, dtype=dtype) for n in (5, 9))
        sizes = launch._sizes(q, k, torch.zeros(2, 3, 9, d_v))
        assert (sizes['BD'], sizes['BDV'], sizes['D'], sizes['D_V']) == (padded, padded_v, d, d_v)
        assert (sizes['heads'], sizes['n_q'], sizes['n_k']) == (3, 5, 9)
        assert (sizes['bucket_q'], sizes['bucket_k']) == (3, 4)


def test_exponents_of_float32_bound_the_channels():
    assert not launch.clamped(50) and launch.clamped(51)


def test_the_maximum_is_subtracted_where_powers_could_overflow():
    q, v = torch.zeros(1, 1, 4, 64), torch.zeros(1, 1, 4, 8)
    assert launch._direct(q, v, dict(WHOLE=True))
    assert not launch._direct(q, v, dict(WHOLE=False))
    assert not launch._direct(torch.zeros(1, 1, 4, 65), v, dict(WHOLE=True))
    assert not launch._direct(q, v.half(), dict(WHOLE=True))


def test_windows_hold_all_bits_that_decide_a_row():
    def windows(n, d, whole):
        q, k = torch.zeros(1, 1, 2, d), torch.zeros(1, 1, n, d)
        return launch.exactness(q, k, dict(WHOLE=whole))

    assert windows(64, 8, True) == dict(BITS=55, WINDOWS=1)  # 2 d + 7 + 1 exponents
    assert windows(64, 40, True) == dict(BITS=55, WINDOWS=2)
    assert windows(64, 200, True) == dict(BITS=55, WINDOWS=3)  # at most 2^7 of them
    assert windows(64, 8, False) == dict(BITS=55, WINDOWS=3)
    assert windows(1, 8, False) == dict(BITS=61, WINDOWS=1)
