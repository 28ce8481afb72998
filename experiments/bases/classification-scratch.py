# A residual network on small pictures from scratch, in a few hundred updates on a CPU: AdamW, linear warm-up, cosine to
# zero. Pictures are mirrored at random and nothing else.
_base_ = ["mmpretrain::_base_/default_runtime.py"]

model = dict(
    type="ImageClassifier",
    backbone=None,  # the arm's
    neck=None,
    head=dict(
        type="LinearClsHead",
        num_classes=None,  # those of the data
        in_channels=None,  # those of the backbone
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
        topk=(1,),
    ),
    data_preprocessor=dict(mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255], to_rgb=True),
)

custom_imports = dict(imports=["plugins.openmm_ext.loading", "plugins.openmm_ext.class_folders"])
load = dict(type="LoadCheckedImage", size=None)  # the size that the data set's manifest states
train_dataloader = dict(
    num_workers=0,
    sampler=None,
    dataset=dict(
        type="ClassFolders",
        pipeline=[load, dict(type="RandomFlip", prob=0.5, direction="horizontal"), dict(type="PackInputs")],
    ),
)
test_dataloader = dict(
    batch_size=100,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="ClassFolders", test_mode=True, pipeline=[load, dict(type="PackInputs")]),
)
test_evaluator = dict(type="Accuracy", topk=(1, 5))
test_cfg = dict()
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=True, begin=0, end=5),
    dict(type="CosineAnnealingLR", eta_min=0, by_epoch=True, begin=5, end=100),
]
train_cfg = dict(by_epoch=True, max_epochs=100)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.003, weight_decay=0.05),
    clip_grad=dict(max_norm=5.0, norm_type=2),
)
