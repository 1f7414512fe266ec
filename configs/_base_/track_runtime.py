"""Runtime settings of a tracking run: epochs, the scope of mmbsa, and the same checks as for
segmentation."""

default_scope = 'mmbsa'
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)  # for GPUs; the tools use gloo without a GPU
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=42)

# The hooks are here and not in custom_hooks, because a list in an inheriting config would replace
# them.
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='ResumableCheckpointHook',
        by_epoch=True,
        interval=5,
        max_keep_ckpts=2,
        save_best='track/AUC',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    data_guard=dict(type='DataGuardHook'),
    finite_loss=dict(type='NonFiniteLossHook'),
)
