# SDTrack tiny on FE108 with 2 sub-frames and two levels (T x D = 2 x 2), the published protocol: 4
# GPUs with 16 pairs each.
_base_ = './sdtrack_tiny_4xb42-100e_fe108-256.py'
model = dict(backbone=dict(num_steps=2, neuron=dict(type='IntegerNode', levels=2, decay=0.25)))
train_dataloader = dict(batch_size=16, dataset=dict(num_steps=2))
test_dataloader = dict(dataset=dict(num_steps=2))
val_dataloader = test_dataloader
auto_scale_lr = dict(enable=False, base_batch_size=64)
