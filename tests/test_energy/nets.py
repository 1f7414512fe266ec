"""Small networks that the tests of energy count."""

import torch
from torch import nn

from mmbsa.registry import MODELS
from mmbsa.spiking import BINARY, SpikingNeuron

LIF = dict(type='mmbsa.LIFNode', tau=2.0, v_threshold=0.5)


class Threshold(SpikingNeuron):
    """Fires where its input is above 0; declares what it is told."""

    def __init__(self, domain=BINARY):
        super().__init__()
        self.domain = domain

    def run(self, x, state=None):
        return (x > 0).to(x.dtype), state


def family(name='Spikingformer', seed=0, **kwargs):
    """A tiny backbone of random weights that fires, in evaluation mode."""
    import mmbsa.models  # noqa: F401

    torch.manual_seed(seed)
    arch = kwargs.pop('arch', dict(embed_dims=32, depth=1, num_heads=2))
    model = MODELS.build(dict(type=f'mmbsa.{name}', arch=arch, **kwargs))
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.bias, 0.0, 0.6)
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(
            torch.rand(4, model.in_channels if hasattr(model, 'in_channels') else 3, 32, 32)
        )
    return model.eval()


def lif_net():
    """conv -> LIF -> conv -> LIF -> linear on (T, B, 3, 8, 8)."""
    import mmbsa.models  # noqa: F401

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.lif1 = nn.Conv2d(3, 4, 3, padding=1), MODELS.build(LIF)
            self.conv2, self.lif2 = nn.Conv2d(4, 6, 3, stride=2, padding=1), MODELS.build(LIF)
            self.head = nn.Linear(6 * 16, 5)

        def forward(self, x):
            steps = len(x)
            x = self.lif1(self.conv1(x.flatten(0, 1)).unflatten(0, (steps, -1)))
            x = self.lif2(self.conv2(x.flatten(0, 1)).unflatten(0, (steps, -1)))
            return self.head(x.flatten(2)).mean(0)

    torch.manual_seed(1)
    return Net().eval()
