"""Runtime settings of a detection run: epochs, mmdet's scope, and the same checks as for
segmentation."""

# if mmcv is installed without its compiled ops, the ops of detectors come from torchvision
custom_imports = dict(imports=['mmbsa.utils.mmcv_ops'], allow_failed_imports=False)
default_scope = 'mmdet'
env_cfg = dict(
    cudnn_benchmark=False,  # the image size differs between batches
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)  # for GPUs; the tools use gloo without a GPU
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False

# The hooks are here and not in custom_hooks, because a list in an inheriting config would replace
# them.
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='mmbsa.ResumableCheckpointHook',
        by_epoch=True,
        interval=1,
        max_keep_ckpts=2,
        save_best='coco/bbox_mAP',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    data_guard=dict(type='mmbsa.DataGuardHook'),
    finite_loss=dict(type='mmbsa.NonFiniteLossHook'),
    visualization=dict(type='mmbsa.DetOverlayHook'),
    num_classes=dict(type='NumClassCheckHook'),  # compares the heads with the classes of the data
)
