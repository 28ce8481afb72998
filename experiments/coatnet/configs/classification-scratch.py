# Classification of small images from scratch: no augmentation and no regularisation, as in the comparison of layouts of
# arXiv 2106.04803 (Fig. 1). AdamW without weight decay, cosine to a hundredth of the rate.
_base_ = ["../../bases/classification-scratch.py"]

model = dict(head=dict(num_classes=10))  # those of the data take their place
load = dict(type="LoadCheckedImage", size=None)  # the size that the data set's manifest states
# The package's own tool fills in what a loader leaves open, and persistent workers need workers.
loader = dict(num_workers=0, persistent_workers=False, collate_fn=dict(type="default_collate"))
train_dataloader = dict(**loader, dataset=dict(pipeline=[load, dict(type="PackInputs")]))
test_dataloader = dict(**loader)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=True, begin=0, end=5),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, by_epoch=True, begin=5, end=100),
]
optim_wrapper = dict(optimizer=dict(lr=0.001, weight_decay=0.0), clip_grad=dict(max_norm=1.0))
