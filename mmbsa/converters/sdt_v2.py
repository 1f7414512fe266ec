"""Official Spike-driven Transformer V2, Meta-SpikeFormer."""

from collections.abc import Mapping

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.metaformer import CLASSIFIER_RULES, metaformer_arch, metaformer_classifier
from mmbsa.models.backbones import MetaSpikeFormer

UNITS = [
    # separable convolutions: there is no norm after the depth-wise one
    *(
        (rf'\.Conv\.{name}\.', f'.0.branch.{place}.')
        for name, place in (
            ('pwconv1', '0.conv'),
            ('bn1', '0.norm'),
            ('dwconv', '1.conv'),
            ('pwconv2', '2.conv'),
            ('bn2', '2.norm'),
        )
    ),
    *(
        (rf'(stages\.[012]\.\d+)\.{name}{n + 1}\.', rf'\1.1.branch.{n}.{ours}.')
        for n in (0, 1)
        for name, ours in (('conv', 'conv'), ('bn', 'norm'))
    ),
    *(
        (rf'\.attn\.{name}_conv\.{old}\.', f'.0.branch.{name}.{new}.')
        for name in ('q', 'k', 'v', 'proj')
        for old, new in (
            (r'0\.body\.0', 'expand'),
            (r'0\.body\.1\.bn', 'expand_norm'),
            (r'0\.body\.2\.0', 'depthwise'),
            (r'0\.body\.2\.1', 'reduce'),
            (r'0\.body\.2\.2', 'reduce_norm'),
            (r'1', 'last_norm'),
        )
    ),
    *(
        (rf'\.mlp\.fc{n + 1}_{name}\.', f'.1.branch.{n}.{ours}.')
        for n in (0, 1)
        for name, ours in (('conv', 'conv'), ('bn', 'norm'))
    ),
]


def _config(state: Mapping[str, Tensor], args: Mapping) -> dict:
    """Return the config.

    The official scripts set T from outside: 1 for pre-training, 4 for fine-tuning (the default
    here).
    """
    neuron = dict(
        type='mmbsa.LIFNode',
        tau=2.0,
        detach_reset=True,
        surrogate_function=dict(type='Sigmoid', alpha=4.0),
    )
    return metaformer_classifier(
        state,
        MetaSpikeFormer,
        metaformer_arch(state, args, 'MetaSpikeFormer'),
        num_steps=args.get('T', 4),
        neuron=neuron,
    )


register('sdt_v2', Recipe(_config, [*CLASSIFIER_RULES, *UNITS]))
