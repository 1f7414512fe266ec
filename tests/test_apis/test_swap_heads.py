"""Head configs follow their maps."""

from copy import deepcopy

import pytest

from mmbsa.apis.swap.heads import input_indices, input_parts, rewrite_inputs
from mmbsa.apis.swap.level import Level, SwapError

OLD = [Level(256, 4), Level(512, 8), Level(1024, 8), Level(2048, 8)]
NEW = [Level(24, 4), Level(96, 16), Level(128, 16)]
NEW_INDICES = {0: 0, 2: 1, 3: 2}


def rewritten(head: dict, maps=NEW, new_indices=NEW_INDICES, number=4, old=OLD) -> dict:
    head = deepcopy(head)
    for part in input_parts(head):
        rewrite_inputs(part, maps, new_indices, number, old)
    return head


@pytest.mark.parametrize(
    'head, expected',
    [
        (
            dict(type='PSPHead', in_channels=2048, in_index=3, channels=512),
            dict(type='PSPHead', in_channels=128, in_index=2, channels=512),
        ),
        (
            dict(type='FCNHead', in_channels=2048, in_index=-1),
            dict(type='FCNHead', in_channels=128, in_index=2),
        ),
        (dict(type='FCNHead', in_channels=2048), dict(type='FCNHead', in_channels=128)),
        (
            dict(type='ANNHead', in_channels=[1024, 2048], in_index=[2, 3]),
            dict(type='ANNHead', in_channels=[96, 128], in_index=[1, 2]),
        ),
        (
            dict(type='OCRHead', in_channels=(1024, 2048), in_index=(2, 3)),
            dict(type='OCRHead', in_channels=(96, 128), in_index=(1, 2)),
        ),
        (
            dict(
                type='DepthwiseSeparableASPPHead',
                in_channels=2048,
                in_index=3,
                c1_in_channels=256,
                c1_channels=48,
            ),
            dict(
                type='DepthwiseSeparableASPPHead',
                in_channels=128,
                in_index=2,
                c1_in_channels=24,
                c1_channels=48,
            ),
        ),
        (
            dict(type='FCNHead', in_channels=1024, in_index=2, channels=1024, num_convs=0),
            dict(type='FCNHead', in_channels=96, in_index=1, channels=96, num_convs=0),
        ),
        (
            dict(type='FCNHead', in_channels=1024, in_index=2, channels=256, num_convs=1),
            dict(type='FCNHead', in_channels=96, in_index=1, channels=256, num_convs=1),
        ),
        (
            dict(type='PSAHead', in_channels=2048, in_index=3, mask_size=(97, 97)),
            dict(type='PSAHead', in_channels=128, in_index=2, mask_size=(49, 49)),
        ),
        (
            dict(
                type='IterativeDecodeHead',
                kernel_generate_head=dict(type='ASPPHead', in_channels=2048, in_index=3),
                kernel_update_head=[dict(type='KernelUpdateHead', in_channels=512)],
            ),
            dict(
                type='IterativeDecodeHead',
                kernel_generate_head=dict(type='ASPPHead', in_channels=128, in_index=2),
                kernel_update_head=[dict(type='KernelUpdateHead', in_channels=512)],
            ),
        ),
    ],
)
def test_heads_of_a_dilated_resnet(head, expected):
    assert rewritten(head) == expected


def test_strides_follow():
    maps = [Level(24, 4), Level(48, 8), Level(96, 16), Level(128, 16)]
    new_indices = {i: i for i in range(4)}
    head = dict(
        type='FPNHead', in_channels=[256] * 4, in_index=[0, 1, 2, 3], feature_strides=[4, 8, 16, 32]
    )
    assert rewritten(head, maps, new_indices)['feature_strides'] == [4, 8, 16, 16]
    head = dict(type='Mask2FormerHead', in_channels=[256, 512, 1024, 2048], strides=[4, 8, 16, 32])
    assert rewritten(head, maps, new_indices) == dict(
        type='Mask2FormerHead', in_channels=[24, 48, 96, 128], strides=[4, 8, 16, 16]
    )


def test_what_a_head_reads():
    assert input_indices(dict(type='H', in_channels=8), 4) == [3]
    assert input_indices(dict(type='H', in_channels=[1, 2, 3]), 3) == [0, 1, 2]
    assert input_indices(dict(type='H', in_channels=8, in_index=-2), 4) == [2]
    with pytest.raises(SwapError, match=r'H reads in_index=\[4\]'):
        input_indices(dict(type='H', in_channels=8, in_index=4), 4)
    with pytest.raises(SwapError, match='H has no in_channels'):
        input_indices(dict(type='H'), 4)
