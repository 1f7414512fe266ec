# SGLFormer 2-256 on DVS128 Gesture, T = 16, the official recipe; published accuracy 98.6 %.
_base_ = [
    '../_base_/models/event_classifier.py',
    '../_base_/datasets/dvs_gesture.py',
    '../_base_/schedules/events_96e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.SGLFormer', arch='dvs128-2-256'), head=dict(num_classes=11))
optim_wrapper = dict(optimizer=dict(lr=5e-3))
train_dataloader = dict(batch_size=16)
custom_hooks = []  # Mixup is used until the end
