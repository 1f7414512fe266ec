"""Counts by loops over integers, for comparison."""

from itertools import product


def conv_pairs(x, weight_shape, stride, padding, dilation, groups, transposed=False, out_size=None):
    """Pairs, events and accumulates of a 2-D convolution of nested integer lists (N, C, H, W)."""
    batch, channels, height, width = len(x), len(x[0]), len(x[0][0]), len(x[0][0][0])
    valid = events = counts = 0
    first, second, kh, kw = weight_shape
    outputs = second * groups if transposed else first
    for n, c, y, z, o, i, j in product(
        range(batch),
        range(channels),
        range(height),
        range(width),
        range(outputs),
        range(kh),
        range(kw),
    ):
        if c // (channels // groups) != o // (outputs // groups):
            continue
        if transposed:
            p, q = (
                y * stride[0] - padding[0] + i * dilation[0],
                z * stride[1] - padding[1] + j * dilation[1],
            )
            hit = 0 <= p < out_size[0] and 0 <= q < out_size[1]
        else:
            p, q = y + padding[0] - i * dilation[0], z + padding[1] - j * dilation[1]
            hit = (
                p % stride[0] == 0
                and q % stride[1] == 0
                and 0 <= p // stride[0] < out_size[0]
                and 0 <= q // stride[1] < out_size[1]
            )
        if hit:
            k = x[n][c][y][z]
            valid, events, counts = valid + 1, events + (k != 0), counts + abs(k)
    return valid, events, counts


def coincidences(q, k):
    """Events and accumulates of q k^T of nested lists (n, d) and (m, d)."""
    events = sum(a != 0 and b != 0 for row in q for other in k for a, b in zip(row, other))
    counts = sum(abs(a * b) for row in q for other in k for a, b in zip(row, other))
    return events, counts
