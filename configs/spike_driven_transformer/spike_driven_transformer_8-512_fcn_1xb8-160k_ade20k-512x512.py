# Spike-driven Transformer V1 8-512 on ADE20K with the spiking FCN head, T = 4. Recipe of the STEP
# benchmark, which trains from scratch and has one more pool (stride 32; here 16). STEP reports
# 12.08 mIoU.
_base_ = [
    '../_base_/models/isotropic_fcn.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/step_160k.py',
    '../_base_/default_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.SpikeDrivenTransformer', arch='8-512'))
train_dataloader = dict(batch_size=8)  # of all GPUs together
auto_scale_lr = dict(base_batch_size=8)
