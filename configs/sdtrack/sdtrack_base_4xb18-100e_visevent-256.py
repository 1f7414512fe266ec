# SDTrack base on VisEvent, the published protocol: 4 GPUs with 18 pairs each.
#   bash tools/dist_train.sh configs/sdtrack/sdtrack_base_4xb18-100e_visevent-256.py 4
_base_ = [
    '../_base_/models/sdtrack_base.py',
    '../_base_/datasets/visevent_tracking.py',
    '../_base_/schedules/sdtrack_100e.py',
    '../_base_/track_runtime.py',
]
train_dataloader = dict(batch_size=18)
auto_scale_lr = dict(enable=False, base_batch_size=72)
