"""Schedules keep what fits any backbone and lose what only fitted the replaced one."""

from copy import deepcopy

import pytest

from mmbsa.apis.swap.schedule import drop_leftovers, fix_optimizer

ADAM = dict(type='AdamW', lr=1e-4, weight_decay=0.05)


@pytest.mark.parametrize(
    'wrapper, expected',
    [
        (dict(type='OptimWrapper', optimizer=ADAM), dict(type='OptimWrapper', optimizer=ADAM)),
        (
            dict(
                optimizer=ADAM,
                constructor='LayerDecayOptimizerConstructor',
                paramwise_cfg=dict(num_layers=12, layer_decay_rate=0.9),
            ),
            dict(optimizer=ADAM, paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0)),
        ),
        (
            dict(
                optimizer=ADAM,
                constructor='mmseg.LearningRateDecayOptimizerConstructor',
                paramwise_cfg=dict(decay_rate=0.9),
            ),
            dict(optimizer=ADAM, paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0)),
        ),
        (
            dict(
                optimizer=ADAM,
                paramwise_cfg=dict(
                    custom_keys={
                        'absolute_pos_embed': dict(decay_mult=0.0),
                        'norm': dict(decay_mult=0.0),
                        'head': dict(lr_mult=10.0),
                    }
                ),
            ),
            dict(
                optimizer=ADAM,
                paramwise_cfg=dict(
                    custom_keys={'norm': dict(decay_mult=0.0), 'head': dict(lr_mult=10.0)},
                    norm_decay_mult=0.0,
                ),
            ),
        ),
        (
            dict(
                optimizer=ADAM,
                paramwise_cfg=dict(
                    custom_keys={
                        'backbone': dict(lr_mult=0.1),
                        'backbone.stages.0.blocks.0.norm': dict(lr_mult=0.1),
                        'query_embed': dict(lr_mult=1.0),
                    }
                ),
            ),
            dict(
                optimizer=ADAM,
                paramwise_cfg=dict(
                    custom_keys={'backbone': dict(lr_mult=0.1), 'query_embed': dict(lr_mult=1.0)}
                ),
            ),
        ),
        (
            dict(
                optimizer=ADAM, paramwise_cfg=dict(custom_keys={'pos_embed': dict(decay_mult=0.0)})
            ),
            dict(optimizer=ADAM),
        ),
        (
            dict(
                optimizer=ADAM,
                constructor='ForceDefaultOptimWrapperConstructor',
                paramwise_cfg=dict(
                    bias_decay_mult=0, custom_keys={'backbone.unet': dict(lr_mult=0.01)}
                ),
            ),
            dict(
                optimizer=ADAM,
                constructor='ForceDefaultOptimWrapperConstructor',
                paramwise_cfg=dict(bias_decay_mult=0),
            ),
        ),
    ],
)
def test_schedule_keeps_the_optimizer(wrapper, expected):
    wrapper = deepcopy(wrapper)
    fix_optimizer(wrapper)
    assert wrapper == expected


def test_checkpoints_and_imports_of_the_old_backbone_leave():
    removed = [
        dict(type='mmpretrain.ConvNeXt', init_cfg=dict(checkpoint='https://host/convnext.pth')),
        None,
    ]
    cfg = dict(
        model=dict(backbone=dict(type='mmbsa.X')),
        checkpoint_file='https://host/convnext.pth',
        crop_size=(512, 512),
        load_from='whole_model.pth',
        custom_imports=dict(imports='mmpretrain.models', allow_failed_imports=False),
    )
    drop_leftovers(cfg, removed)
    assert cfg == dict(
        model=dict(backbone=dict(type='mmbsa.X')), crop_size=(512, 512), load_from=None
    )


def test_imports_that_something_else_needs_stay():
    imports = dict(imports=['mmpretrain.models', 'my_project'], allow_failed_imports=False)
    cfg = dict(
        model=dict(decode_head=dict(type='mmpretrain.Head')), custom_imports=deepcopy(imports)
    )
    drop_leftovers(cfg, [])
    assert cfg['custom_imports'] == imports
    cfg = dict(model=dict(decode_head=dict(type='FCNHead')), custom_imports=deepcopy(imports))
    drop_leftovers(cfg, [])
    assert cfg['custom_imports']['imports'] == ['my_project']
