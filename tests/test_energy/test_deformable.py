"""Deformable attention is counted by what its masks fire."""

import torch

from mmbsa.energy import count_operations
from mmbsa.models.neurons import IntegerNode
from mmbsa.registry import MODELS


def test_samples_cost_where_the_mask_fires():
    torch.manual_seed(0)
    part = MODELS.build(
        dict(
            type='mmbsa.SpikeDeformableAttention',
            channels=8,
            groups=2,
            neuron=dict(type='mmbsa.IntegerNode', levels=4),
        )
    ).eval()
    torch.nn.init.normal_(part.mask.conv.weight)
    part.mask.norm.bias.data.fill_(0.4)
    fired = []
    part.mask.neuron.register_forward_hook(lambda _, __, out: fired.append(out))
    report = count_operations(part, 3 * torch.randn(1, 2, 8, 5, 6).abs())
    (row,) = (row for row in report.rows if row.op == 'torchvision::deform_conv2d')
    counts, mask = row.counts, fired[0]
    assert isinstance(part.mask.neuron, IntegerNode) and mask.any() and (mask == 0).any()
    share = 4  # channels per group
    assert counts.ac == share * round(float(mask.sum()) * 4) and counts.ac_events == share * int(
        (mask > 0).sum()
    )
    assert counts.mac == 4 * share * mask.numel() and counts.mac_nonzero == 4 * counts.ac_events
    assert not report.unknown
