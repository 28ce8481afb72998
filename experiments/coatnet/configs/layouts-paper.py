# ImageNet-1K, 300 epochs, without augmentation or regularisation: the comparison of layouts (Fig. 1).
_base_ = ["./classification-paper.py"]

model = dict(
    head=dict(loss=dict(type="CrossEntropyLoss", loss_weight=1.0, _delete_=True)), train_cfg=dict(_delete_=True)
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadCheckedImage"),
            dict(type="ResizeEdge", scale=256, edge="short", backend="pillow", interpolation="bicubic"),
            dict(type="CenterCrop", crop_size=224),
            dict(type="PackInputs"),
        ]
    )
)
optim_wrapper = dict(optimizer=dict(weight_decay=0.0))
