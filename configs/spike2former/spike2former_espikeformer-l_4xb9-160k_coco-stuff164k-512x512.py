# Spike2Former with E-SpikeFormer 19M on COCO-Stuff 164k.
# There is no published result; the recipe is that of ADE20K.
_base_ = [
    '../_base_/models/spike2former.py',
    '../_base_/datasets/coco_stuff164k.py',
    '../_base_/schedules/spike2former_160k.py',
    '../_base_/default_runtime.py',
]
model = dict(decode_head=dict(num_classes=171))
