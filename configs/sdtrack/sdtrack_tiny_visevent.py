# SDTrack tiny on VisEvent, the published protocol: 4 GPUs with 42 pairs each.
#   bash tools/dist_train.sh configs/sdtrack/sdtrack_tiny_visevent.py 4
_base_ = [
    '../_base_/models/sdtrack_tiny.py',
    '../_base_/datasets/visevent_tracking.py',
    '../_base_/schedules/sdtrack_100e.py',
    '../_base_/track_runtime.py',
]
