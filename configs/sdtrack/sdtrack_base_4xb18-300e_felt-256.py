# SDTrack base on FELT, the published protocol: 4 GPUs with 18 pairs each.
#   bash tools/dist_train.sh configs/sdtrack/sdtrack_base_4xb18-300e_felt-256.py 4
_base_ = [
    '../_base_/models/sdtrack_base.py',
    '../_base_/datasets/felt_tracking.py',
    '../_base_/schedules/sdtrack_300e.py',
    '../_base_/track_runtime.py',
]
# the official readme requires normalised images for FELT only
model = dict(data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]))
train_dataloader = dict(batch_size=18)
auto_scale_lr = dict(enable=False, base_batch_size=72)
