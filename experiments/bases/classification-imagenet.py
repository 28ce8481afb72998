# ImageNet-1K. The paper's own recipe could not be read in any reachable copy; this is mmpretrain's for ResNet: SGD, a
# tenth of the rate after 30, 60 and 90 of 100 epochs, crops and mirroring.
_base_ = ["classification-scratch.py"]

model = dict(
    head=dict(num_classes=1000, topk=(1, 5)),
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
read = dict(type="LoadCheckedImage")
train_dataloader = dict(
    num_workers=8,
    persistent_workers=True,
    dataset=dict(
        pipeline=[
            read,
            dict(type="RandomResizedCrop", scale=224),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="PackInputs"),
        ]
    ),
)
test_dataloader = dict(
    num_workers=8,
    dataset=dict(
        pipeline=[
            read,
            dict(type="ResizeEdge", scale=256, edge="short"),
            dict(type="CenterCrop", crop_size=224),
            dict(type="PackInputs"),
        ]
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.25, by_epoch=True, begin=0, end=5),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=100, milestones=[30, 60, 90], gamma=0.1),
]
train_cfg = dict(by_epoch=True, max_epochs=100)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="SGD", lr=0.1, momentum=0.9, weight_decay=0.0001), clip_grad=None
)
