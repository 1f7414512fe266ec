# Spikformer 8-512 on ADE20K with the spiking FPN head, T = 4.
# Schedule of the STEP benchmark, from scratch.
_base_ = [
    '../_base_/models/isotropic_fpn.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/step_160k.py',
    '../_base_/default_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.Spikformer', arch='8-512'))
train_dataloader = dict(batch_size=8)  # of all GPUs together
auto_scale_lr = dict(base_batch_size=8)
