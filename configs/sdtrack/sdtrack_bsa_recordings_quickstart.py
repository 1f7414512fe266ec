# The tracker of the quickstart on recordings of your own, for example to see whether it can learn
# one of them: a folder per recording with img/0001.png, 0002.png, ... (event frames, as
# tools/dataset_converters/stack_events.py writes them) and groundtruth_rect.txt (x,y,w,h per row).
#   RECORDINGS_ROOT=/path python tools/train.py configs/sdtrack/sdtrack_bsa_recordings_quickstart.py
# It trains and tests on the same recordings; for a fair test set `sequences` of each dataset.
_base_ = ['../bsa_tracking_quickstart.py']
recordings = dict(
    _delete_=True,
    type='TrackingDataset',
    layout='frames',
    num_steps=1,
    data_root='{{$RECORDINGS_ROOT:data/recordings}}',
    sequences=None,  # all folders; or a list of names
)
train_dataloader = dict(
    dataset=dict(
        **recordings, samples_per_epoch=800, max_gap=200, pipeline={{_base_.train_pipeline}}
    )
)
val_dataloader = dict(
    batch_size=1,
    dataset=dict(**recordings, test_mode=True, pipeline={{_base_.test_pipeline}}),
)
test_dataloader = val_dataloader
