"""timm models: every preset of every family, natively and with BSA, with timm's verbs."""

import copy

import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import get_pretrained_cfg, group_parameters
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3

from mmbsa.models import backbones
from mmbsa.models.attentions import BipolarSelfAttention
from mmbsa.models.classification import presets
from mmbsa.registry import MODELS


def norms(depth, width):
    """Two LayerNorms in each of ``depth`` blocks, which official codes store and never use."""
    return 4 * depth * width


#: parameters of the official code at the default number of classes, and how many of them its
#: forward never uses.
OFFICIAL = {
    'spikformer_8_384': (16_828_312, norms(8, 384)),
    'spikformer_6_512': (23_385_640, norms(6, 512)),
    'spikformer_8_512': (29_705_768, norms(8, 512)),
    'spikformer_10_512': (36_025_896, norms(10, 512)),
    'spikformer_8_768': (66_363_208, norms(8, 768)),
    'spikformer_cifar_4_256': (4_159_274, norms(4, 256)),
    'spikformer_cifar_2_384': (5_768_122, norms(2, 384)),
    'spikformer_cifar_4_384': (9_330_874, norms(4, 384)),
    # a position embedding of 64 tokens and a last LayerNorm
    'spikformer_dvs_2_256': (2_585_610, norms(2, 256) + 64 * 256 + 2 * 256),
    'spikingformer_8_384': (16_828_312, norms(8, 384)),
    'spikingformer_8_512': (29_705_768, norms(8, 512)),
    'spikingformer_8_768': (66_363_208, norms(8, 768)),
    # counted with 100 classes
    'spikingformer_cifar_4_256': (4_179_332, norms(4, 256) + 90 * 257),
    'spikingformer_cifar_2_384': (5_800_468, norms(2, 384) + 90 * 385),
    'spikingformer_cifar_4_384': (9_326_266, norms(4, 384)),
    'spikingformer_dvs_2_256': (2_568_714, norms(2, 256)),
    'qkformer_10_384': (16_473_688, 0),
    'qkformer_10_512': (29_079_336, 0),
    'qkformer_10_768': (64_962_760, 0),
    'qkformer_cifar_4_384': (6_706_234, 0),
    'qkformer_dvs_2_256': (1_504_138, 0),
    'qkformer_gesture_2_256': (1_999_371, 0),
    # the convolution of talking heads, 8 x 8 in each block
    'spike_driven_transformer_8_384': (16_816_536, 8 * 64),
    'spike_driven_transformer_6_512': (23_373_736, 6 * 64),
    'spike_driven_transformer_8_512': (29_689_896, 8 * 64),
    'spike_driven_transformer_10_512': (36_006_056, 10 * 64),
    'spike_driven_transformer_8_768': (66_339_144, 8 * 64),
    'spike_driven_transformer_cifar_2_256': (2_567_082, 2 * 64),
    'spike_driven_transformer_cifar_2_512': (10_233_546, 2 * 64),
    'spike_driven_transformer_cifar10dvs_2_256': (2_566_794, 2 * 64),
    'spike_driven_transformer_dvs128_2_256': (2_567_051, 2 * 64),
    'meta_spikeformer_15m': (15_112_208, 0),
    'meta_spikeformer_8_384': (31_333_864, 0),
    'meta_spikeformer_8_512': (55_350_248, 0),
    'meta_spikeformer_8_768': (123_741_160, 0),
    'espikeformer_t': (2_702_048, 0),
    'espikeformer_s': (5_105_608, 0),
    'espikeformer_m': (10_023_112, 0),
    'espikeformer_l': (18_987_504, 0),
    'espikeformer_large_12_512': (82_502_952, 0),
    'espikeformer_large_12_768': (170_971_714, 0),
    'espikeformer_large_12_768_pretrain': (170_810_824, 0),
    'spikingresformer_ti': (11_180_992, 0),
    'spikingresformer_s': (17_813_824, 0),
    'spikingresformer_m': (35_601_472, 0),
    'spikingresformer_l': (60_375_680, 0),
    'spikingresformer_cifar': (10_793_152, 0),
    'spikingresformer_dvsg': (2_709_830, 0),
    'spikformer_semm_8_384': (16_049_656, 0),
    'spikformer_semm_8_512': (27_550_088, 0),
    'spikformer_semm_8_768': (60_079_528, 0),
    'spikformer_semm_cifar_4_384': (7_739_242, 0),
    'spikformer_tim_2_256': (2_570_794, norms(2, 256)),
    'spikformer_tim_shd_2_256': (2_573_364, norms(2, 256)),
    'espikeformer_hardvs_19m': (18_740_004, 0),
    'espikeformer_gesture_2': (5_604_315, 0),
    'espikeformer_scaling_30m': (39_360_232, 0),
    'espikeformer_scaling_50m': (61_265_800, 0),
    **{
        f'sglformer_8_{width}{suffix}': (official, norms(6, width))
        for suffix in ('', '_late')
        for width, official in ((384, 16_248_856), (512, 28_671_016), (768, 64_024_648))
    },
    'sglformer_cifar_4_384': (8_852_874, 0),
    'sglformer_cifar10dvs_2_256': (4_164_434, 0),
    'sglformer_dvs128_2_256': (4_164_691, 0),
    'swformer_6_512': (21_806_632, 0),
    'swformer_8_512': (27_600_424, 0),
    'swformer_cifar_4_384': (7_479_226, 0),
    'swformer_cifar_4_384_g16': (7_022_458, 0),
    'swformer_cifar10dvs_2_256': (2_157_834, 0),
}


def extra_of_bsa(preset, arch):
    """Parameters that the projections of plain BSA have beyond what they take the place of."""
    if preset.family is backbones.SpikingResformer:  # its own attention needs no projection to q
        extra = sum(
            depth * (dims * dims + 2 * dims)
            for dims, depth in zip(arch['embed_dims'], arch['depths'])
        )
        # two parametric neurons in each of its attentions; ternary ones have no parameters
        return extra - 2 * sum(arch['depths']) * (preset.arch == 'dvsg')
    dims = arch['embed_dims']
    if arch.get('experts'):  # q of every expert, k and the router become q and k of full width
        bias = arch['qkv_bias']
        unit = arch['expert_dims'] * (dims + 2 + bias)
        router = arch['experts'] * (dims + 3)
        return arch['depth'] * (
            2 * dims * (dims + 2 + bias) - (arch['experts'] + 1) * unit - router
        )
    if arch.get('temporal'):  # the convolution between 16 tokens
        return -arch['depth'] * (16 * 16 * 5 + 16)
    if (
        preset.family is backbones.SWFormer
    ):  # block weights, five norms, 1x1 and 3x3 convolutions of a group
        width = dims // arch['groups']
        mixer = dims * width + 5 * 2 * dims + 10 * width * width + 2 * width
        return arch['depth'] * (4 * dims * (dims + 2) + dims - mixer)
    return 0


#: a small preset per family.
SMALL = [
    'spikformer_cifar_4_256',
    'spikingformer_cifar_4_256',
    'qkformer_cifar_4_384',
    'qkformer_dvs_2_256',
    'spike_driven_transformer_cifar_2_256',
    'meta_spikeformer_15m',
    'espikeformer_t',
    'espikeformer_large_12_512',
    'spikingresformer_cifar',
]


def create(name, **kwargs):
    torch.manual_seed(0)
    return timm.create_model(name, **kwargs)


def image(channels=3, batch=2, size=32):
    return 3 * torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(0))


def lively(model, channels=3):
    """In evaluation mode, with running statistics of a batch, so that neurons fire."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.constant_(norm.weight, 2.0)
        torch.nn.init.constant_(norm.bias, 1.0)
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(image(channels))
    return model.eval()


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_every_preset_has_two_names():
    expected = {preset.name for preset in presets()}
    families = {
        f: cls.arch_settings
        for f, cls in vars(backbones).items()
        if getattr(cls, 'arch_settings', None)
    }
    assert len(expected) == sum(map(len, families.values())) and set(families) == {
        p.family.__name__ for p in presets()
    }
    assert expected == set(OFFICIAL)
    ours = set(timm.list_models(module='timm_adapter'))
    assert ours == expected | {name + '_bsa' for name in expected}
    assert set(timm.list_models('*bsa*')) == {name + '_bsa' for name in expected}
    assert 'spikingformer_cifar_4_384_bsa.cifar100' in timm.list_models(
        'spikingformer_cifar*', include_tags=True
    )
    assert not timm.list_models('*spik*', pretrained=True)


@pytest.mark.parametrize('preset', presets(), ids=lambda preset: preset.name)
def test_sizes_and_cfg(preset):
    with torch.device('meta'):
        model = timm.create_model(preset.name)
        bsa = timm.create_model(preset.name + '_bsa')
    official, unused = OFFICIAL[preset.name]
    assert parameters(model) == official - unused
    assert parameters(bsa) == official - unused + extra_of_bsa(preset, model.backbone.arch)
    kinds = [name for name, m in bsa.named_modules() if isinstance(m, BipolarSelfAttention)]
    blocks = [
        name
        for name, m in model.named_modules()
        if type(m).__name__ in ('ProjectedAttention', 'HaarMixer')
    ]
    if preset.family is backbones.QKFormer:
        blocks = [
            name
            for name in blocks
            if name.startswith(f'backbone.stages.{len(model.backbone.stages) - 1}.')
        ]
    assert [name.rpartition('.')[0] for name in kinds] == blocks and kinds
    assert not any(isinstance(m, BipolarSelfAttention) for m in model.modules())

    for timm_model in (model, bsa):
        cfg = timm_model.default_cfg
        data = preset.data[cfg['tag']]
        convs = [
            f'backbone.{name}'
            for name, m in timm_model.backbone.named_modules()
            if isinstance(m, torch.nn.Conv2d)
        ]
        assert cfg['first_conv'] == convs[0]
        assert (
            timm_model.get_submodule(convs[0]).in_channels
            == cfg['input_size'][0]
            == timm_model.in_chans
        )
        assert timm_model.get_submodule(cfg['classifier']) is timm_model.get_classifier()
        assert (
            timm_model.get_classifier().out_features == timm_model.num_classes == cfg['num_classes']
        )
        assert {key: cfg[key] for key in data} == data and not {'url', 'file', 'hf_hub_id'} & set(
            cfg
        )
        assert timm_model.backbone.num_steps == preset.num_steps
        modules = dict(timm_model.named_modules())
        assert all(info['module'] in modules for info in timm_model.feature_info)
        assert timm_model.num_features == timm_model.feature_info[-1]['num_chs']


def test_tags_are_data_sets():
    cifar100 = timm.create_model('qkformer_cifar_4_384_bsa.cifar100', num_steps=1)
    assert cifar100.num_classes == 100 and cifar100.head.out_features == 100
    ten, hundred = (
        get_pretrained_cfg(f'spikformer_cifar_4_384.{tag}') for tag in ('cifar10', 'cifar100')
    )
    assert (ten.mean, ten.std) == (hundred.mean, hundred.std), (
        'its recipe takes the constants of CIFAR-10 for both'
    )
    assert get_pretrained_cfg('spike_driven_transformer_cifar_2_512.cifar100').mean == (
        0.5071,
        0.4867,
        0.4408,
    )
    data = resolve_model_data_config(timm.create_model('espikeformer_t'))
    assert data['input_size'] == (3, 224, 224) and data['crop_pct'] == 224 / 232
    events = resolve_model_data_config(
        timm.create_model('spike_driven_transformer_cifar10dvs_2_256')
    )
    assert (
        events['input_size'] == (2, 64, 64)
        and events['mean'] == (0.0, 0.0)
        and events['std'] == (1.0, 1.0)
    )


@pytest.mark.parametrize('name', SMALL)
def test_timm_model_has_the_verbs(name):
    model = lively(create(name, num_classes=5, num_steps=2, in_chans=4), 4)
    levels = len(model.feature_info)
    x = image(4)
    with torch.no_grad():
        maps, logits = model.forward_features(x), model(x)
        assert maps.shape[:3] == (2, 2, model.num_features) and logits.shape == (2, 5)
        assert maps.any() and not torch.equal(maps[:, 0], maps[:, 1])
        assert torch.equal(model.forward_head(maps), logits)
        pre = model.forward_head(maps, pre_logits=True)
        assert pre.shape == (2, model.head_hidden_size)
        torch.testing.assert_close(model.head(pre), logits)

        last, intermediates = model.forward_intermediates(x)
        assert torch.equal(last, maps) and len(intermediates) == levels
        for out, info in zip(intermediates, model.feature_info):
            side = -(-32 // info['reduction'])
            assert out.shape == (2, info['num_chs'], side, side)
        assert torch.equal(intermediates[-1], maps.mean(0))
        two = model.forward_intermediates(x, (-1, 0), intermediates_only=True)
        assert [torch.equal(a, b) for a, b in zip(two, (intermediates[0], intermediates[-1]))] == [
            True,
            True,
        ]
        early, (first,) = model.forward_intermediates(x, [0], stop_early=True)
        assert torch.equal(early.mean(0), first) and torch.equal(first, intermediates[0])
        assert len(model.forward_intermediates(x, 2, intermediates_only=True)) == 2

        features = create(
            name, features_only=True, out_indices=(0, levels - 1), num_steps=2, in_chans=4
        )
        own = {key.removeprefix('model.') for key in features.state_dict()}
        features.model.load_state_dict({k: v for k, v in model.state_dict().items() if k in own})
        assert own == {key for key in model.state_dict() if key.startswith('backbone.')}
        assert features.feature_info.channels() == [
            model.feature_info[i]['num_chs'] for i in (0, levels - 1)
        ]
        assert features.feature_info.reduction() == [
            model.feature_info[i]['reduction'] for i in (0, levels - 1)
        ]
        outs = features.eval()(x)
        assert torch.equal(outs[0], intermediates[0]) and torch.equal(outs[1], intermediates[-1])

        model.reset_classifier(7)
        assert model(x).shape == (2, 7) and model.num_classes == 7
        assert (model.head.bias is None) == (name == 'spikingresformer_cifar')
        model.reset_classifier(0)
        torch.testing.assert_close(model(x), pre)
        model.reset_classifier(0, '')
        assert torch.equal(model(x), maps.mean(0))


@pytest.mark.parametrize(
    'name', ['espikeformer_t', 'spikingformer_cifar_4_256', 'qkformer_cifar_4_384']
)
def test_features_of_early_levels_carry_nothing_behind_them(name):
    with torch.device('meta'):
        model, early = create(name), create(name, features_only=True, out_indices=(0, 1))
        everything = create(name, features_only=True)
    assert early.feature_info.channels() == [info['num_chs'] for info in model.feature_info[:2]]
    assert parameters(early) == sum(
        p.numel()
        for key, p in model.backbone.named_parameters()
        if key.startswith(('stem.', 'stages.0.', 'stages.1.'))
    )
    assert len(everything.feature_info.channels()) == len(model.feature_info)
    assert parameters(everything) == parameters(model.backbone)


def test_hooked_features_keep_their_time_axis():
    model = create(
        'spikingformer_cifar_4_256',
        features_only=True,
        feature_cls='hook',
        out_indices=(1, 3),
        num_steps=3,
    )
    assert [out.shape for out in model(image())] == [(3, 2, 128, 32, 32), (3, 2, 256, 8, 8)]


def test_arguments_reach_the_backbone():
    model = timm.create_model(
        'espikeformer_t_bsa',
        num_classes=10,
        in_chans=2,
        num_steps=4,
        drop_path_rate=0.3,
        drop_rate=0.5,
        attention=dict(type='mmbsa.BipolarSelfAttention', normalizer='softmax'),
        distill=True,
        neuron=dict(type='mmbsa.IntegerNode', levels=2),
        layer_scale=1e-3,
    )
    block = model.backbone.stages[-1][-1]
    assert (
        block[1].drop_path_rate == 0.3 and block[1].branch.attn.options['normalizer'] == 'softmax'
    )
    assert model.neuron.levels == 2 and model.neuron.norm == 1 and model.drop_rate == 0.5
    assert block[0].scale is not None and len(model.get_classifier()) == 2
    assert [out.shape for out in model(torch.randn(2, 4, 2, 32, 32))] == [(2, 10)] * 2, (
        'event frames, two heads'
    )
    model.reset_classifier(3)
    assert [head.out_features for head in model.get_classifier()] == [3, 3]
    model.reset_classifier(0)
    assert model.distill_head is None and model(torch.randn(2, 2, 32, 32)).shape == (2, 128)
    model.set_grad_checkpointing()
    assert model.backbone.with_cp
    half = timm.create_model('espikeformer_t', device='meta', dtype=torch.bfloat16)
    assert {(p.dtype, p.device.type) for p in half.parameters()} == {(torch.bfloat16, 'meta')}
    half.reset_classifier(4)
    assert half.head.weight.dtype == torch.bfloat16 and half.head.weight.device.type == 'meta'


def test_a_name_does_not_remember_what_it_was_called_with():
    changed = dict(type='mmbsa.BipolarSelfAttention', normalizer='none')
    with torch.device('meta'):
        timm.create_model('espikeformer_t_bsa', attention=changed, out_indices=(1,))
        model = timm.create_model('espikeformer_t_bsa')
    kind = next(m for m in model.modules() if isinstance(m, BipolarSelfAttention))
    assert kind.options['normalizer'] == 'shiftmax' and changed == dict(
        type='mmbsa.BipolarSelfAttention', normalizer='none'
    )


def test_checkpoints_of_the_classifier_are_the_timm_models(tmp_path):
    torch.manual_seed(1)
    plain = lively(MODELS.build(backbones.ESpikeFormer.classifier_cfg('t', 10)))
    path = tmp_path / 'classifier.pth'
    torch.save(dict(state_dict=plain.state_dict()), path)
    model = timm.create_model('espikeformer_t', num_classes=10, checkpoint_path=str(path)).eval()
    with torch.no_grad():
        assert torch.equal(model(image()), plain(image()))

    with pytest.raises(RuntimeError, match='No pretrained weights exist for espikeformer_t'):
        timm.create_model('espikeformer_t', pretrained=True)
    overlay = dict(file=str(path), num_classes=10)
    grey = timm.create_model(
        'espikeformer_t', pretrained=True, pretrained_cfg_overlay=overlay, in_chans=1, num_classes=3
    )
    first, ours = plain.backbone.stem.conv.weight, grey.backbone.stem.conv.weight
    torch.testing.assert_close(ours, first.sum(1, keepdim=True))
    assert torch.equal(
        grey.backbone.stages[0][0][0].branch[0].conv.weight,
        plain.backbone.stages[0][0][0].branch[0].conv.weight,
    )
    assert grey.head.out_features == 3


@pytest.mark.parametrize(
    'name', ['spikformer_cifar_4_256', 'qkformer_10_384', 'espikeformer_m', 'spikingresformer_ti']
)
def test_layer_groups_are_the_backbones_depths(name):
    with torch.device('meta'):
        model = timm.create_model(name)
    layers = group_parameters(model, model.group_matcher(), reverse=True)
    depths = {
        key: model.backbone.get_layer_depth(key, 'backbone.')[0]
        for key, _ in model.named_parameters()
    }
    assert layers == depths
    coarse = group_parameters(model, model.group_matcher(coarse=True))
    assert len(coarse) == len(model.backbone.stages) + 2


@pytest.mark.parametrize('name', ['espikeformer_t_bsa', 'spike_driven_transformer_cifar_2_256_bsa'])
def test_training_with_timms_optimizer_and_average(name):
    model = create(name, num_classes=4, num_steps=2, drop_path_rate=0.2)
    model.set_grad_checkpointing()
    average = ModelEmaV3(model, decay=0.5)
    optimizer = create_optimizer_v2(
        model, opt='adamw', lr=1e-3, weight_decay=0.05, layer_decay=0.75
    )
    scales = {group['lr_scale'] for group in optimizer.param_groups}
    assert max(scales) == 1.0 and min(scales) == 0.75 ** (
        model.backbone.get_layer_depth('head')[1] - 1
    )
    decayed = {
        id(p) for group in optimizer.param_groups if group['weight_decay'] for p in group['params']
    }
    assert decayed == {id(p) for p in model.parameters() if p.ndim > 1}
    before = copy.deepcopy(model.state_dict())
    loss = torch.nn.functional.cross_entropy(model.train()(image()), torch.tensor([1, 3]))
    loss.backward()
    optimizer.step()
    average.update(model)
    weight = 'head.weight'
    assert torch.isfinite(loss) and not torch.equal(model.state_dict()[weight], before[weight])
    torch.testing.assert_close(
        average.module.state_dict()[weight], (model.state_dict()[weight] + before[weight]) / 2
    )


def test_errors_name_the_argument():
    for kwargs, message in (
        (dict(global_pool='max'), "global_pool must be 'avg' or '', got 'max'"),
        (dict(global_pool=''), "global_pool='' needs num_classes=0"),
        (
            dict(features_only=True, out_indices=(0, 5)),
            'must be in the 5 levels of this ESpikeFormer',
        ),
    ):
        with torch.device('meta'), pytest.raises(ValueError, match=message):
            timm.create_model('espikeformer_t', **kwargs)
    with torch.device('meta'), pytest.raises(TypeError, match='depth'):
        timm.create_model('espikeformer_t', depth=3)
    with pytest.raises(ValueError, match="output_fmt must be 'NCHW', got 'NLC'"):
        create('espikeformer_t').forward_intermediates(image(), output_fmt='NLC')
