"""Common parts of the recipes of families with one width: sizes from shapes, keys of blocks."""

from collections.abc import Mapping

from torch import Tensor

from mmbsa.models.backbones import IsotropicBackbone

#: official names of the units of an attention or an MLP -> names in mmbsa; the same for Conv1d,
#: Conv2d and linear layers.
BLOCK_RULES = [
    *(
        (rf'\.(?:attn|tssa|ssa)\.{name}_{kind}\.', f'.0.branch.{name}.{ours}.')
        for name in ('q', 'k', 'v', 'proj')
        for kind, ours in (('(?:conv|linear)', 'conv'), ('bn', 'norm'))
    ),
    *(
        (rf'\.mlp\.(?:fc|mlp){n + 1}_{kind}\.', f'.1.branch.{n}.{ours}.')
        for n in (0, 1)
        for kind, ours in (('(?:conv|linear)', 'conv'), ('bn', 'norm'))
    ),
]
#: two LayerNorms per block that no official forward uses.
UNUSED_NORMS = (r'^block\.\d+\.norm[12]\.',)


def block_rules(stage: int, first: int, number: int = 64) -> list[tuple[str, str]]:
    """Return rules ``block.0.`` -> ``backbone.stages.<stage>.<first>.``, and so on.

    Args:
        stage: index of the stage in mmbsa.
        first: index of the first block in the stage.
        number: number of blocks, 64 by default.
    """
    return [(rf'^block\.{i}\.', f'backbone.stages.{stage}.{i + first}.') for i in range(number)]


def tensor_of(state: Mapping[str, Tensor], key: str, family: str) -> Tensor:
    """Return a tensor of the state dict; raise KeyError with the name of the family if missing.

    Args:
        state: official name -> tensor.
        key: name of the tensor.
        family: name of the family, for the message.
    """
    if key not in state:
        raise KeyError(f'no tensor {key!r}: is this a state dict of the official {family}?')
    return state[key]


def depth_of(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return the number of blocks whose keys are ``prefix.<number>.``."""
    return len(
        {key[len(prefix) + 1 :].split('.')[0] for key in state if key.startswith(prefix + '.')}
    )


def check_args(family: str, args: Mapping, **found) -> None:
    """Raise ValueError if a constructor argument differs from the value in the tensors.

    Args:
        family: name of the family, for the message.
        args: official constructor arguments.
        found: name of an argument -> value that the tensors have.
    """
    for key, value in found.items():
        if key in args and args[key] != value:
            raise ValueError(
                f'{key}={args[key]!r} does not fit the tensors of this {family}, which have '
                f'{value!r}'
            )


def isotropic_config(
    state: Mapping[str, Tensor],
    args: Mapping,
    family: type[IsotropicBackbone],
    preset: str,
    first_conv: str,
    hidden: str,
) -> dict:
    """Return the config of a classifier: sizes from shapes, other values from a preset.

    The preset is the one of that size, otherwise the first preset of the source.

    Args:
        state: official tensors.
        args: official constructor arguments; ``num_heads`` and ``T`` do not follow from tensors.
        family: class of mmbsa.
        preset: beginning of the names of this source's presets, ``''`` for ImageNet.
        first_conv: official name of the tokenizer's first convolution.
        hidden: official name of the first block's first MLP weight.

    Raises:
        ValueError: no preset has the width, and ``num_heads`` is missing.
    """
    name = family.__name__
    dims, depth = tensor_of(state, 'head.weight', name).shape[1], depth_of(state, 'block')
    check_args(name, args, embed_dims=dims, depths=depth)
    presets = {
        key: dict(value)
        for key, value in family.arch_settings.items()
        if key.removeprefix(preset)[:1].isdigit() and key.startswith(preset)
    }
    arch = presets.get(f'{preset}{depth}-{dims}')
    if arch is None:
        arch = next(iter(presets.values()))
        same_width = [
            value['num_heads'] for value in presets.values() if value['embed_dims'] == dims
        ]
        if 'num_heads' not in args and not same_width:
            raise ValueError(
                f'{name}: no preset has the width {dims}; give num_heads, which shapes do not show'
            )
        arch.update(embed_dims=dims, depth=depth, num_heads=(same_width or [None])[0])
    arch['num_heads'] = args.get('num_heads', arch['num_heads'])
    arch['mlp_ratio'] = tensor_of(state, hidden, name).shape[0] // dims
    return family.classifier_cfg(
        arch,
        len(state['head.weight']),
        num_steps=args.get('T', 4),
        in_channels=tensor_of(state, first_conv, name).shape[1],
    )
