# SDTrack tiny on FE108, the published protocol: 4 GPUs with 42 pairs each.
#   bash tools/dist_train.sh configs/sdtrack/sdtrack_tiny_4xb42-100e_fe108-256.py 4
_base_ = [
    '../_base_/models/sdtrack_tiny.py',
    '../_base_/datasets/fe108_tracking.py',
    '../_base_/schedules/sdtrack_100e.py',
    '../_base_/track_runtime.py',
]
auto_scale_lr = dict(enable=False, base_batch_size=168)
