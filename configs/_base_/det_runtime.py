"""How a detection run behaves: epochs, mmdet's scope, and the same guards as segmentation."""

# where mmcv was installed without its compiled ops, those that detectors need come from torchvision
custom_imports = dict(imports=['mmbsa.utils.mmcv_ops'], allow_failed_imports=False)
default_scope = 'mmdet'
env_cfg = dict(
    cudnn_benchmark=False,  # images of a batch differ in size from those of the next
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)  # with GPUs; our tools take gloo where there are none
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False

# Hooks stand here and not in custom_hooks, because a list in a config that inherits this one would
# replace them.
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
    num_classes=dict(type='NumClassCheckHook'),  # heads against the classes of the data
)
