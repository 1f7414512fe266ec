# Spike2Former with E-SpikeFormer 19M on ADE20K. The learning rate 2e-4 and the batch of 36 images
# are those of the paper; the released config has 1e-3 and 96 (48) images.
_base_ = [
    '../_base_/models/spike2former.py',
    '../_base_/datasets/ade20k_shortest_edge.py',
    '../_base_/schedules/spike2former_160k.py',
    '../_base_/default_runtime.py',
]
