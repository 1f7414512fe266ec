"""Common parts of the recipes of Spike-driven Transformer V2 and V3: stage names, sizes."""

from collections.abc import Mapping

from torch import Tensor

from mmbsa.converters.isotropic import check_args, depth_of, tensor_of
from mmbsa.models.backbones import MetaFormerBackbone

#: official stages -> stages in mmbsa; blocks follow the downsampling of their stage.
STAGES = [
    (r'downsample1_1\.', 'stem.'),
    (r'ConvBlock1_1\.0\.', 'stages.0.0.'),
    (r'downsample1_2\.', 'stages.1.0.'),
    (r'ConvBlock1_2\.0\.', 'stages.1.1.'),
    (r'downsample2\.', 'stages.2.0.'),
    (r'ConvBlock2_1\.0\.', 'stages.2.1.'),
    (r'ConvBlock2_2\.0\.', 'stages.2.2.'),
    (r'downsample3\.', 'stages.3.0.'),
    (r'downsample4\.', 'stages.4.0.'),
    *((rf'block{s}\.{i}\.', f'stages.{s}.{i + 1}.') for s in (3, 4) for i in range(64)),
]
#: the convolution and the norm of stem and downsamplings.
DOWN_RULES = [(r'\.encode_conv\.', '.conv.'), (r'\.encode_bn\.', '.norm.')]
#: rules of a classifier: its official backbone has no prefix, and it may have a second head.
CLASSIFIER_RULES = [
    *((rf'^{old}', f'backbone.{new}') for old, new in STAGES),
    *DOWN_RULES,
    (r'^head_kd\.', 'distill_head.'),
]


def metaformer_arch(state: Mapping[str, Tensor], args: Mapping, family: str) -> dict:
    """Return the arch of a Meta-SpikeFormer or E-SpikeFormer checkpoint, from its tensor shapes.

    Args:
        state: official state dict.
        args: arguments of the official model. ``num_heads`` (default 8) is read from here, because
            no tensor shape depends on it; ``embed_dim`` is compared with the shapes.
        family: name of the family, for error messages.

    Returns:
        ``embed_dims``, ``depths``, ``num_heads`` and ``mlp_ratio``.
    """
    stages = [stage for stage in (3, 4) if f'downsample{stage}.encode_conv.weight' in state]
    names = ('1_2', '2', '3', *stages[1:])
    dims = tuple(
        len(tensor_of(state, f'downsample{name}.encode_conv.weight', family)) for name in names
    )
    check_args(
        family,
        {key: tuple(value) for key, value in args.items() if key == 'embed_dim'},
        embed_dim=dims,
    )
    hidden = len(tensor_of(state, 'block3.0.mlp.fc1_conv.weight', family))
    return dict(
        embed_dims=dims,
        depths=tuple(depth_of(state, f'block{stage}') for stage in stages),
        num_heads=args.get('num_heads', 8),
        mlp_ratio=hidden // dims[2],
    )


def metaformer_classifier(
    state: Mapping[str, Tensor], family: type[MetaFormerBackbone], arch: dict, **backbone
) -> dict:
    """Return the config of a classifier, with a distillation head if the checkpoint has one.

    Args:
        state: official name -> tensor.
        family: class of the backbone.
        arch: arch of the backbone.
        backbone: further arguments of the backbone.
    """
    in_channels = tensor_of(state, 'downsample1_1.encode_conv.weight', family.__name__).shape[1]
    return family.classifier_cfg(
        arch,
        len(tensor_of(state, 'head.weight', family.__name__)),
        distill='head_kd.weight' in state,
        in_channels=in_channels,
        **backbone,
    )
