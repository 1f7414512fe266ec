# SDTrack base on FE108, the published protocol: 4 GPUs with 18 pairs each.
#   bash tools/dist_train.sh configs/sdtrack/sdtrack_base_4xb18-50e_fe108-256.py 4
_base_ = [
    '../_base_/models/sdtrack_base.py',
    '../_base_/datasets/fe108_tracking.py',
    '../_base_/schedules/sdtrack_50e.py',
    '../_base_/track_runtime.py',
]
train_dataloader = dict(batch_size=18)
auto_scale_lr = dict(enable=False, base_batch_size=72)
