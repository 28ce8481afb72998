# Classification of small images from scratch: no augmentation and no regularisation, as in the comparison of layouts of
# arXiv 2106.04803 (Fig. 1). AdamW without weight decay, cosine to a hundredth of the rate.
_base_ = ["mmpretrain::_base_/default_runtime.py"]

model = dict(
    type="ImageClassifier",
    backbone=None,
    neck=None,
    head=dict(
        type="LinearClsHead",
        num_classes=10,  # those of the data take their place
        in_channels=None,  # those of the backbone
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
    data_preprocessor=dict(
        type="ClsDataPreprocessor", mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255], to_rgb=True
    ),
)

custom_imports = dict(imports=["plugins.openmm_ext.loading", "plugins.openmm_ext.class_folders"])
load = dict(type="LoadCheckedImage", size=None)  # the size that the data set's manifest states
# The package's own tool fills in what a loader leaves open, and persistent workers need workers.
loader = dict(num_workers=0, persistent_workers=False, collate_fn=dict(type="default_collate"))
train_dataloader = dict(
    **loader,
    sampler=None,
    dataset=dict(type="ClassFolders", pipeline=[load, dict(type="PackInputs")]),
)
test_dataloader = dict(
    **loader,
    batch_size=100,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="ClassFolders", test_mode=True, pipeline=[load, dict(type="PackInputs")]),
)
test_evaluator = dict(type="Accuracy", topk=(1, 5))
test_cfg = dict()
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=True, begin=0, end=5),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, by_epoch=True, begin=5, end=100),
]
train_cfg = dict(by_epoch=True, max_epochs=100)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.001, weight_decay=0.0),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
