# ImageNet-21K at 224, Table 10: no augmentation but crops and flips, sigmoid loss with label smoothing 1e-4, linear
# decay to 1e-5 after 5 epochs of warm-up, weight decay 0.01, 90 epochs. The classes are those of the data.
_base_ = ["./classification-paper.py"]

model = dict(
    head=dict(
        loss=dict(type="LabelSmoothLoss", label_smooth_val=1e-4, mode="multi_label", use_sigmoid=True, _delete_=True)
    ),
    train_cfg=dict(_delete_=True),
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadCheckedImage"),
            dict(type="RandomResizedCrop", scale=224, backend="pillow", interpolation="bicubic"),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="PackInputs"),
        ]
    )
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=True, begin=0, end=5),
    dict(type="PolyLR", power=1.0, eta_min=1e-5, by_epoch=True, begin=5, end=90),
]
train_cfg = dict(by_epoch=True, max_epochs=90)
optim_wrapper = dict(optimizer=dict(weight_decay=0.01))
