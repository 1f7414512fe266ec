"""Runtime settings of a segmentation run: scope, complete checkpoints, checks of the data, and a
stop at the first loss that is not finite."""

default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)  # for GPUs; the tools use gloo without a GPU
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
tta_model = dict(type='SegTTAModel')

# The hooks are here and not in custom_hooks, because a list in an inheriting config would replace
# them.
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='mmbsa.ResumableCheckpointHook',
        by_epoch=False,
        interval=10000,
        max_keep_ckpts=2,
        save_best='mIoU',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    data_guard=dict(type='mmbsa.DataGuardHook'),
    gather_results=dict(type='mmbsa.GatherResultsHook'),
    finite_loss=dict(type='mmbsa.NonFiniteLossHook'),
    visualization=dict(type='mmbsa.SegOverlayHook'),
)
