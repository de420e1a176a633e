# The 20 nearest training images vote, by the features of a small self-supervised run: see
# linear_probe_small.py. Training is one pass over the training images without a change of
# parameters.
#
# Reproduces: weighted k-NN of instance discrimination (arXiv:1805.01978), with fewer neighbors.
# Cost: one pass over the images.
# Expected: unknown; 10 % is chance.
_base_ = './linear_probe_small.py'

model = dict(
    type='KNNClassifier',
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(_delete_=True, type='KNNHead', num_classes=10, k=20))

train_cfg = dict(max_epochs=1, val_interval=1)
param_scheduler = None
train_dataloader = dict(
    drop_last=False,
    sampler=dict(shuffle=False), dataset=dict(pipeline={{_base_.test_pipeline}}))
