"""Every family with every kind of attention, and the config's neuron, surrogate and T in every
neuron of every family."""

import inspect

import pytest
import torch
from family_checks import settled
from spikingjelly.activation_based import neuron as sj
from torch.nn.modules.batchnorm import _BatchNorm

import mmbsa.models  # noqa: F401  (registers everything)
from mmbsa.models.backbones import BaseSpikingBackbone
from mmbsa.models.layers import fuse
from mmbsa.models.neurons import AsymmetricIFNode
from mmbsa.registry import MODELS
from mmbsa.spiking import AttentionKind, SpikingNeuron, Stateful, domain_of, stream


def registered(base):
    """Name -> class of every registered subclass of ``base``."""
    return {
        name: cls
        for name, cls in sorted(MODELS.module_dict.items())
        if inspect.isclass(cls) and issubclass(cls, base)
    }


#: every registered family with its reduced arch; a family without one fails
#: test_every_family_has_a_small_arch.
SMALL = {name: cls.small_arch for name, cls in registered(BaseSpikingBackbone).items()}
KINDS = sorted(registered(AttentionKind))


def refusal(family, kind):
    """Words of the error that a pair raises which makes no sense, or None."""
    wide = {**MODELS.get(f'mmbsa.{family}').defaults, **SMALL[family]}.get('value_ratio', 1) != 1
    return 'values as wide as keys' if wide and MODELS.get(f'mmbsa.{kind}').equal_widths else None


PAIRS = [
    (family, kind) for family in sorted(SMALL) for kind in KINDS if refusal(family, kind) is None
]


def build(family, num_steps=2, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(
        dict(type=f'mmbsa.{family}', arch=SMALL[family], num_steps=num_steps, **kwargs)
    )


def image(size=32):
    return 3 * torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def neurons(model):
    """All but SWFormer's ternary neurons inside Haar transforms, which are part of its mixing
    whatever the config's are."""
    return [
        m
        for m in model.modules()
        if isinstance(m, SpikingNeuron) and not isinstance(m, AsymmetricIFNode)
    ]


@pytest.mark.parametrize('family', sorted(SMALL))
def test_every_family_has_a_small_arch(family):
    assert SMALL[family], f'set {family}.small_arch, the instance that the tests build'


@pytest.mark.parametrize('family, kind', PAIRS)
def test_channels_stay_last(family, kind):
    """A copy into another layout costs a pass over memory, and most convolutions are faster in this
    one."""
    model = build(family, attention=dict(type=f'mmbsa.{kind}'))
    wrong = []

    def look(name, *maps):
        wrong.extend(
            (name, tuple(x.shape), x.stride())
            for x in maps
            if not x.is_contiguous(memory_format=torch.channels_last)
        )

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda module, args, out, name=name: look(name, args[0], out)
            )
            module.register_full_backward_pre_hook(
                lambda module, grads, name=name: look(f'gradient of {name}', grads[0])
            )
    sum(out.square().mean() for out in model(image())).backward()
    assert not wrong, wrong


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('family', sorted(SMALL))
def test_family_with_kind(family, kind):
    cfg = dict(attention=dict(type=f'mmbsa.{kind}'))
    if refusal(family, kind):
        with pytest.raises(ValueError, match=refusal(family, kind)):
            build(family, **cfg)
        return
    model = build(family, **cfg).train()
    assert any(type(m).__name__ == kind for m in model.modules()), (
        'the kind of the config is in the model'
    )
    out = model(image())[-1]
    assert out.ndim == 5 and out.shape[:2] == (2, 2) and torch.isfinite(out).all()
    out.square().mean().backward()
    grads = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(g is not None and torch.isfinite(g).all() for g in grads) and any(
        g.any() for g in grads
    )


NEURONS = {
    'LIFNode': dict(tau=3.0, v_threshold=0.7),
    'ParametricLIFNode': dict(init_tau=3.0, v_threshold=0.7),
    'IFNode': dict(v_threshold=0.7),
    'KLIFNode': dict(tau=3.0, v_threshold=0.7),
}


@pytest.mark.parametrize('attention', [None, 'mmbsa.BipolarSelfAttention'], ids=['native', 'bsa'])
@pytest.mark.parametrize('name', sorted(NEURONS))
@pytest.mark.parametrize('family', sorted(SMALL))
def test_the_configs_neuron_is_everywhere(family, name, attention):
    """STEP ignores surrogate and T silently (its defects D1, D2, D6); here every neuron of the
    model is asked."""
    cfg = dict(
        type=f'mmbsa.{name}',
        surrogate_function=dict(type='ATan', alpha=5.0),
        detach_reset=True,
        **NEURONS[name],
    )
    model = build(family, num_steps=3, neuron=cfg, attention=attention and dict(type=attention))
    nodes = neurons(model)
    ternary = [n for n in nodes if isinstance(n, (sj.TernaryLIFNode, sj.TernaryIFNode))]
    family_nodes = [n for n in nodes if n not in ternary]
    assert family_nodes and bool(ternary) == (attention is not None)
    assert {type(n) for n in family_nodes} == {type(MODELS.build(cfg))}
    for node in nodes:
        assert (
            type(node.surrogate_function).__name__ == 'ATan'
            and node.surrogate_function.alpha == 5.0
        )
        # attention neurons of some families have 0.5, the output of bipolar attention an eighth of
        # the family's threshold
        assert node.detach_reset and node.v_threshold in (
            (0.7, 0.7 / 8) if node in ternary else (0.7, 0.5)
        )
        if 'tau' in NEURONS[name]:
            assert node.tau == 3.0
    surrogates = [id(n.surrogate_function) for n in nodes]
    assert len(set(surrogates)) == len(surrogates)

    steps = []
    for node in nodes:
        node.register_forward_hook(lambda m, inputs, out: steps.append((len(inputs[0]), len(out))))
    outs = model.eval()(image())
    assert {len(o) for o in outs} == {3}
    assert set(steps) == {(3, 3)} and len(steps) >= len(nodes), 'every neuron runs, over T steps'


@pytest.mark.parametrize('num_steps', [1, 5])
@pytest.mark.parametrize('family', sorted(SMALL))
def test_steps_are_the_configs(family, num_steps):
    """Neurons that depend on T are built for it."""
    model = build(family, num_steps=num_steps, neuron=dict(type='mmbsa.PSN'))
    assert {n.T for n in neurons(model)} == {num_steps}
    assert len(model(image())[-1]) == num_steps


@pytest.mark.parametrize('merge', [False, True])
@pytest.mark.parametrize('kind', [None, 'BipolarSelfAttention'])
@pytest.mark.parametrize('family', sorted(SMALL))
def test_fused_family(family, kind, merge):
    model = settled(build(family, attention=kind and dict(type=f'mmbsa.{kind}')))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fused = fuse(model.train(), merge)
    for found, expected in zip(fused(image().double()), model.eval()(image().double())):
        torch.testing.assert_close(found, expected)
    assert expected.any()
    norms = [[m for m in net.modules() if isinstance(m, _BatchNorm)] for net in (model, fused)]
    assert norms[0] and not norms[1] and not fused.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize('kind', [None, 'BipolarSelfAttention'])
@pytest.mark.parametrize('family', sorted(SMALL))
def test_autocast_keeps_membranes(family, kind):
    """Under bfloat16 every neuron still counts in whole spikes, and gets what it would get in
    float32, rounded."""
    model = build(family, attention=kind and dict(type=f'mmbsa.{kind}'))
    seen = []
    for node in neurons(model):
        node.register_forward_hook(
            lambda node, args, out: seen.append((args[0].detach(), node, out.detach()))
        )
    with torch.autocast('cpu', torch.bfloat16):
        loss = sum(out.float().square().mean() for out in model(image()))
    loss.backward()
    assert any(x.dtype == torch.bfloat16 for x, _, _ in seen)
    for x, node, out in [*seen]:
        torch.testing.assert_close(out.float(), node(x.float()).detach(), rtol=2**-8, atol=0)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    'family, kind',
    [*((family, None) for family in sorted(SMALL)), ('Spikingformer', 'BipolarSelfAttention')],
)
def test_compiles_in_one_graph(family, kind):
    model = build(family, attention=kind and dict(type=f'mmbsa.{kind}')).eval()
    torch._dynamo.reset()
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    x = image().requires_grad_()
    for found, expected in zip(compiled(x), model(x)):
        assert torch.equal(found, expected)
        torch.testing.assert_close(
            *(
                torch.autograd.grad(out.square().sum(), x, retain_graph=True)[0]
                for out in (found, expected)
            )
        )


@pytest.mark.parametrize('family, kind', PAIRS)
def test_spikes_lie_in_their_domains(family, kind, monkeypatch):
    monkeypatch.setenv('MMBSA_CHECK_SPIKES', '1')
    model = build(family, attention=dict(type=f'mmbsa.{kind}'))
    kinds = [m for m in model.modules() if isinstance(m, AttentionKind)]
    seen = []
    for module in kinds:
        module.register_forward_hook(lambda m, args, out: seen.append((domain_of(m), out)))
    model(image())
    assert seen and all(domain is None or domain.contains(out) for domain, out in seen)


@pytest.mark.parametrize('family, kind', PAIRS)
def test_family_streams(family, kind):
    """T steps one by one equal the whole sequence, bit for bit."""
    model = settled(build(family, num_steps=3, attention=dict(type=f'mmbsa.{kind}'))).float().eval()
    frames = 3 * torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, state = model(frames), None
        for t in range(3):
            outs, state = stream(model, frames[:, t : t + 1], state)
            assert all(torch.equal(out, map_[t : t + 1]) for out, map_ in zip(outs, whole)), t
    neurons_ = [
        n for n, m in model.named_modules() if isinstance(m, SpikingNeuron)
    ]  # those within others have no slot
    assert whole[-1].any() and set(state) == {
        n
        for n, m in model.named_modules()
        if isinstance(m, Stateful) and not any(n.startswith(f'{outer}.') for outer in neurons_)
    }


@pytest.mark.parametrize('kind', [None, 'BipolarSelfAttention'])
@pytest.mark.parametrize('family', sorted(SMALL))
def test_family_under_vmap_and_jacrev(family, kind):
    model = settled(build(family, attention=kind and dict(type=f'mmbsa.{kind}')))
    x = image().double()

    def total(sample):
        return model(sample[None])[-1].sum()

    torch.testing.assert_close(torch.vmap(total)(x), torch.stack([total(sample) for sample in x]))
    jacobian = torch.func.jacrev(total)(x[0])
    sample = x[0].clone().requires_grad_()
    torch.testing.assert_close(jacobian, torch.autograd.grad(total(sample), sample)[0])
