"""Folding norms and merging RepConv changes nothing but rounding; families are in
``test_matrix.py``."""

import pytest
import torch
from family_checks import settled
from mmcv.cnn import fuse_conv_bn
from torch import nn

from mmbsa.models.layers import RepConv, SpikeConv, fuse


@pytest.mark.parametrize('kernel_size, last_norm', [(3, True), (3, False), (1, True)])
def test_merged_rep_conv_is_one_convolution(kernel_size, last_norm):
    unit = settled(RepConv(4, 6, kernel_size=kernel_size, ratio=2, last_norm=last_norm))
    x = torch.randint(0, 2, (2, 3, 4, 7, 6)).double()
    merged = fuse(unit, merge=True)
    convolutions = [m for m in merged.modules() if isinstance(m, nn.Conv2d)]
    assert [tuple(c.weight.shape) for c in convolutions] == [(6, 4, kernel_size, kernel_size)]
    torch.testing.assert_close(merged(x), unit(x))
    flat = x.flatten(0, 1)
    torch.testing.assert_close(convolutions[0](flat), unit(x).flatten(0, 1))
    for again in (fuse(merged, merge=True), fuse(fuse(unit), merge=True)):
        torch.testing.assert_close(again(x), unit(x))


def test_fusing_of_mmcv_works_too():
    unit = settled(RepConv(4, 6))
    x = torch.randn(2, 3, 4, 7, 6, dtype=torch.float64)
    expected = unit(x)
    torch.testing.assert_close(fuse_conv_bn(unit)(x), expected)


def test_other_norms_stay():
    unit = SpikeConv(4, 6, norm_cfg=dict(type='GN', num_groups=2)).eval()
    assert isinstance(fuse(unit).norm, nn.GroupNorm)


@pytest.mark.parametrize(
    'norm_cfg', [dict(type='GN', num_groups=2), dict(type='BN', track_running_stats=False)], ids=str
)
def test_norms_of_the_batch_keep_rep_conv_apart(norm_cfg):
    unit = RepConv(4, 6, kernel_size=1, norm_cfg=norm_cfg).eval()
    x = torch.randn(2, 3, 4, 7, 6)
    torch.testing.assert_close(fuse(unit, merge=True)(x), unit(x))
