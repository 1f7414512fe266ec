# Permuted sequential MNIST: the 784 steps of sequential MNIST in one fixed, seeded order.
_base_ = ['./smnist.py']
train_pipeline = [
    dict(type='mmbsa.ToSequence', order='pixels', permutation_seed=0),
    dict(type='PackInputs'),
]
test_pipeline = train_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
