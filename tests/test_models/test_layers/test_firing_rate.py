"""Running firing rates: initialised by the first batch, averaged after it, still in evaluation and
recomputation."""

import torch
from torch import nn

from mmbsa.models.layers import FiringRate, checkpointed

HEADS = 3


def spikes(seed, rates=(0.2, 0.5, 0.8)):
    uniform = torch.rand(4, 2, HEADS, 5, 6, generator=torch.Generator().manual_seed(seed))
    return (uniform < torch.tensor(rates).view(-1, 1, 1)).float()


def means(x):
    return x.abs().mean((0, 1, 3, 4))


def test_the_first_batch_initialises_and_later_ones_average():
    rate = FiringRate(HEADS, momentum=0.25).train()
    out = rate(spikes(0))
    assert out.shape == (HEADS, 1, 1)
    torch.testing.assert_close(out.flatten(), means(spikes(0)))
    torch.testing.assert_close(
        rate(spikes(1)).flatten(), 0.75 * means(spikes(0)) + 0.25 * means(spikes(1))
    )


def test_evaluation_moves_nothing_and_unmeasured_rates_count_as_one():
    rate = FiringRate(HEADS).eval()
    assert rate(spikes(0)).flatten().tolist() == [1, 1, 1] and not rate.rate.any()
    rate.train()(spikes(0, (0.0, 0.5, 0.5)))
    measured = rate.rate.clone()
    assert rate.eval()(spikes(1)).flatten()[0] == 1 and measured[0] == 0
    torch.testing.assert_close(rate(spikes(2)).flatten()[1:], measured[1:])
    assert torch.equal(rate.rate, measured)


def test_negative_spikes_count_as_spikes():
    rate = FiringRate(HEADS).train()
    torch.testing.assert_close(rate(-spikes(0)).flatten(), means(spikes(0)))


def test_recomputation_does_not_move_rates():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = FiringRate(HEADS, momentum=0.5)

        def forward(self, x):
            return x * self.rate((x > 0).float().detach()).sqrt()

    plain, saving = Scaled().train(), Scaled().train()
    for seed in (0, 1):
        x = torch.randn(
            4, 2, HEADS, 5, 6, generator=torch.Generator().manual_seed(seed)
        ).requires_grad_()
        copy = x.detach().clone().requires_grad_()
        plain(x).sum().backward()
        checkpointed(saving, copy).sum().backward()
        assert torch.equal(x.grad, copy.grad) and torch.equal(plain.rate.rate, saving.rate.rate)
    assert saving.rate.momentum == 0.5
