"""Running statistics of norms that several processes share, where every image stands for T equal
steps."""

import pytest
import torch
from torch import nn

from mmbsa.models.layers.time import norm_of_copies


class TwoProcesses(nn.SyncBatchNorm):
    """What SyncBN computes when two processes hold the same maps (torch's own runs on GPUs
    alone)."""

    def forward(self, x):
        count = 2 * x.numel() // x.size(1)
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
        return (x - mean[:, None, None]) / (var[:, None, None] + self.eps).sqrt()


@pytest.mark.parametrize('shape', [(2, 3, 2, 2), (1, 3, 1, 2), (4, 3, 5, 5)])
def test_norm_of_copies_counts_the_values_of_all_processes(shape, monkeypatch):
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.distributed, 'get_world_size', lambda group=None: 2)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    short, whole = TwoProcesses(3).train(), TwoProcesses(3).train()
    out = norm_of_copies(short, x, 4)
    expected = whole(x.repeat(4, 1, 1, 1))
    torch.testing.assert_close(out, expected[: len(x)])
    torch.testing.assert_close(short.running_var, whole.running_var)
    torch.testing.assert_close(short.running_mean, whole.running_mean)
