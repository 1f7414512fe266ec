"""Every convolution that a model makes is one that the processor computes rightly, whichever class
it belongs to."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmseg.models.decode_heads import FPNHead
from torch.utils._python_dispatch import TorchDispatchMode

import mmbsa.models  # noqa: F401  (registers everything)
from mmbsa.models.backbones import BaseSpikingBackbone, QKFormer
from mmbsa.registry import MODELS

aten = torch.ops.aten
METAFORMER = [dict(embed_dims=(6, 12, 20, 24), depths=(1, 1), num_heads=2)]


def tokenizer(preset):
    return QKFormer.arch_settings[preset]['tokenizer']


#: family -> archs that have every layout of convolutions that its presets have, with widths that
#: fill no whole vector.
ARCHS = {
    'Spikformer': [dict(embed_dims=24, depth=1, num_heads=2)],
    'Spikingformer': [dict(embed_dims=24, depth=1, num_heads=2)],
    'SpikeDrivenTransformer': [dict(embed_dims=24, depth=1, num_heads=2)],
    'QKFormer': [
        dict(embed_dims=(8, 16, 32), depths=(1, 1, 1), num_heads=2, tokenizer=tokenizer('10-384')),
        dict(embed_dims=(12, 24), depths=(1, 1), num_heads=2, tokenizer=tokenizer('cifar-4-384')),
        dict(embed_dims=(8, 16), depths=(1, 1), num_heads=2, tokenizer=tokenizer('dvs-2-256')),
    ],
    'MetaSpikeFormer': METAFORMER,
    'ESpikeFormer': METAFORMER,
    'ESpikeFormerLarge': [dict(embed_dims=(6, 12, 16), depths=(1,), num_heads=2)],
    'SpikingResformer': [
        dict(
            embed_dims=(12, 24), depths=(1, 1), num_heads=(1, 2), patch_sizes=(2, 1), group_size=12
        )
    ],
}
for _name, _cls in MODELS.module_dict.items():
    if isinstance(_cls, type) and issubclass(_cls, BaseSpikingBackbone):
        ARCHS.setdefault(_name, [_cls.small_arch])


def known_to_be_wrong(x, weight, stride, padding, dilation, transposed, groups, positions):
    """The kinds of docs/reliability.md."""
    if max(weight.shape[2:]) == 1 and max(stride) > 1 and max(padding) == 0:
        return True
    if x.dtype == torch.float32:
        return False
    return (
        groups > 1 and max(dilation) > 1 or any(s > 1 and n == 1 for s, n in zip(stride, positions))
    )


class Convolutions(TorchDispatchMode):
    """Looks at all convolutions and their gradients: refuses the kinds that oneDNN gets wrong
    before they are made, and compares the others with float64."""

    def __init__(self):
        super().__init__()
        self.forwards = self.backwards = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is aten.convolution.default:
            x, weight, _, stride, padding, dilation, transposed, _, groups = args
            sizes = x.shape[2:]
            positions = [
                (n + 2 * p - d * (k - 1) - 1) // s + 1
                for n, k, s, p, d in zip(sizes, weight.shape[2:], stride, padding, dilation)
            ]
            self.forwards += 1
            assert not known_to_be_wrong(
                x, weight, stride, padding, dilation, transposed, groups, positions
            ), (x.dtype, x.shape, weight.shape, stride)
        if function is not aten.convolution_backward.default:
            return function(*args, **(kwargs or {}))
        grad, x, weight, sizes, stride, padding, dilation, transposed, outputs, groups, mask = args
        assert not known_to_be_wrong(
            x, weight, stride, padding, dilation, transposed, groups, grad.shape[2:]
        )
        found = function(*args, **(kwargs or {}))
        self.backwards += 1
        with torch.backends.mkldnn.flags(enabled=False):
            exact = function(*(t.detach().double().contiguous() for t in args[:3]), *args[3:])
            sums = function(*(t.detach().double().abs().contiguous() for t in args[:3]), *args[3:])
        of_value, of_sum = (1e-6, 5e-6) if x.dtype == torch.float32 else (2.0**-5, 1e-5)
        for a, b, most in zip(found, exact, sums, strict=True):
            if a is not None:
                assert (a - b).abs().max() <= of_value * b.abs().max() + of_sum * most.max(), (
                    x.shape,
                    weight.shape,
                )
        return found


def train(model, size=32, batch=2, dtype=torch.float32, channels=3):
    """A step of training under :class:`Convolutions`; returns what it saw."""
    x = 3 * torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(0))
    with Convolutions() as seen:
        with torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.bfloat16):
            outs = model(x)
        sum(out.float().square().mean() for out in outs).backward()
    assert seen.forwards and seen.backwards
    return seen


def test_every_family_is_looked_at():
    families = {
        name
        for name, cls in MODELS.module_dict.items()
        if inspect.isclass(cls) and issubclass(cls, BaseSpikingBackbone)
    }
    assert families - {'BaseSpikingBackbone'} == ARCHS.keys()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=['float32', 'bfloat16'])
@pytest.mark.parametrize(
    'family, arch',
    [(family, arch) for family, archs in ARCHS.items() for arch in archs],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_backbones_make_no_wrong_call(family, arch, dtype):
    torch.manual_seed(0)
    train(MODELS.build(dict(type=f'mmbsa.{family}', arch=arch, num_steps=2)), dtype=dtype)


def test_the_watch_sees_stock_convolutions():
    """A model that makes a wrong call, which is refused before it is made."""
    stock = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Conv2d(6, 12, 1, 2))
    with pytest.raises(AssertionError, match='12, 6, 1, 1'):
        train(lambda x: [stock(x.contiguous(memory_format=torch.channels_last))])


def test_stock_heads_get_contiguous_maps():
    """The readout in front of stock heads hands on contiguous maps, for which oneDNN's strided 1x1
    kernel is right."""
    readout = MODELS.build(dict(type='mmbsa.TemporalReadout'))
    maps = [torch.randn(2, 3, 8, 8, 6).permute(0, 1, 4, 2, 3) for _ in range(2)]
    outs = readout(maps)
    assert all(out.is_contiguous() for out in outs)
    head = FPNHead(
        in_channels=[6, 6],
        in_index=[0, 1],
        feature_strides=[4, 8],
        channels=8,
        num_classes=3,
        norm_cfg=dict(type='BN'),
        align_corners=False,
    )
    with Convolutions() as seen:
        head((outs[0].requires_grad_(), outs[1][..., ::2, ::2].requires_grad_())).sum().backward()
    assert seen.backwards


@pytest.mark.parametrize('dims', [32, 48])
def test_qkformer_trains_with_right_gradients(dims):
    """In a process of its own, for a corrupted heap to end that one."""
    code = (
        'import test_conv_in_models as t; t.train(t.MODELS.build(dict(type="mmbsa.QKFormer", '
        'num_steps=2, '
        f'arch=dict(embed_dims=({dims // 4}, {dims // 2}, {dims}), depths=(1, 1, 1), num_heads=2, '
        'tokenizer=t.tokenizer("10-384")))), size=96, batch=3); print("trained")'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0 and 'trained' in done.stdout, done.stderr[-3000:]
