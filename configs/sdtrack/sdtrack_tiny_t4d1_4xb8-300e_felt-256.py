# SDTrack tiny on FELT with 4 sub-frames and LIF neurons (T x D = 4 x 1), the published protocol: 4
# GPUs with 8 pairs each.
_base_ = './sdtrack_tiny_4xb42-300e_felt-256.py'
model = dict(
    backbone=dict(
        num_steps=4,
        neuron=dict(
            type='LIFNode',
            tau=2.0,
            detach_reset=True,
            surrogate_function=dict(type='Sigmoid', alpha=4.0),
        ),
    )
)
train_dataloader = dict(batch_size=8, dataset=dict(num_steps=4))
test_dataloader = dict(dataset=dict(num_steps=4))
val_dataloader = test_dataloader
auto_scale_lr = dict(enable=False, base_batch_size=32)
