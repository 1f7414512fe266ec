"""Official Spike-driven Transformer V3, large models (83M, 171M), fine-tuned classifiers."""

from collections.abc import Mapping

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import tensor_of
from mmbsa.converters.metaformer import CLASSIFIER_RULES, metaformer_arch, metaformer_classifier
from mmbsa.models.backbones import ESpikeFormerLarge

#: branches of a block: the 83M model has an additional first branch, so attention and MLP are the
#: second and the third.
_EXTRA = r'(stages\.3\.\d+)\.rep_conv\.'


def _rules(first: int) -> list[tuple[str, str]]:
    chain = [
        (rf'conv{n + 1}\.{i}', new)
        for n, name in enumerate(('expand', 'reduce'))
        for i, new in enumerate((name, f'{name}_norm'))
    ]
    return [
        *CLASSIFIER_RULES,
        *(
            (rf'(stages\.[012]\.\d+)\.conv{n + 1}\.0\.{i}\.', rf'\1.0.branch.{n}.{kind}.')
            for n in (0, 1)
            for i, kind in enumerate(('conv', 'norm'))
        ),
        *((rf'{_EXTRA}{old}\.', rf'\1.0.branch.{new}.') for old, new in chain),
        *(
            (rf'\.attn\.{name}_conv\.0\.{old}\.', f'.{first}.branch.{name}.{new}.')
            for name in ('q', 'k', 'v', 'proj')
            for old, new in chain
        ),
        *(
            (rf'\.attn\.{name}_conv\.1\.', f'.{first}.branch.{name}.last_norm.')
            for name in ('q', 'k', 'v', 'proj')
        ),
        *(
            (rf'\.mlp\.fc{n + 1}_{name}\.', f'.{first + 1}.branch.{n}.{ours}.')
            for n in (0, 1)
            for name, ours in (('conv', 'conv'), ('bn', 'norm'))
        ),
        *((rf'\.layer_scale{n + 1}$', f'.{first + n}.scale') for n in (0, 1)),
    ]


def _config(state: Mapping[str, Tensor], args: Mapping, extra: bool) -> dict:
    """Return the config; ``levels`` is the constant D in the official file (4, or 8 for 1 x 8)."""
    name = 'ESpikeFormerLarge'
    levels = args.get('levels', 4)
    neuron = dict(type='mmbsa.IntegerNode', levels=levels, rounding='half_up', window='exclusive')
    arch = metaformer_arch(state, args, name)
    width = arch['embed_dims'][2]
    arch['value_ratio'] = len(tensor_of(state, 'block3.0.attn.v_conv.1.weight', name)) // width
    if extra:
        arch['branch_ratio'] = (
            len(tensor_of(state, 'block3.0.rep_conv.conv1.0.weight', name)) / width
        )
    return metaformer_classifier(
        state,
        ESpikeFormerLarge,
        arch,
        num_steps=args.get('T', 1),
        neuron=neuron,
        layer_scale=1e-6 if 'block3.0.layer_scale1' in state else None,
    )


def _with_branch(state: Mapping[str, Tensor], args: Mapping) -> dict:
    return _config(state, args, extra=True)


def _without_branch(state: Mapping[str, Tensor], args: Mapping) -> dict:
    return _config(state, args, extra=False)


register('sdt_v3_83m', Recipe(_with_branch, _rules(1)))
register('sdt_v3_171m', Recipe(_without_branch, _rules(0)))
