"""Runtime settings of a classification run: epochs, mmpretrain's scope, and the same checks as for
segmentation."""

default_scope = 'mmpretrain'
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)  # for GPUs; the tools use gloo without a GPU
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)
log_processor = dict(by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=42)
tta_model = dict(type='AverageClsScoreTTA')

# The hooks are here and not in custom_hooks, because a list in an inheriting config would replace
# them.
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='mmbsa.ResumableCheckpointHook',
        by_epoch=True,
        interval=1,
        max_keep_ckpts=2,
        save_best='accuracy/top1',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    data_guard=dict(type='mmbsa.DataGuardHook'),
    gather_results=dict(type='mmbsa.GatherResultsHook'),
    finite_loss=dict(type='mmbsa.NonFiniteLossHook'),
    visualization=dict(type='mmbsa.ClsPictureHook', enable=False),
)
