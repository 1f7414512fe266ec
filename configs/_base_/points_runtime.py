"""Runtime settings of a run with point clouds: epochs, overall and mean accuracy, and the same
checks as for the other tasks."""

default_scope = 'mmbsa'
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)  # for GPUs; the tools use gloo without a GPU
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
log_processor = dict(by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=42)
val_evaluator = dict(type='mmbsa.PointAccuracy')
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='mmbsa.ResumableCheckpointHook',
        by_epoch=True,
        interval=1,
        max_keep_ckpts=2,
        save_best='points/OA',
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    data_guard=dict(type='mmbsa.DataGuardHook'),
    finite_loss=dict(type='mmbsa.NonFiniteLossHook'),
)
