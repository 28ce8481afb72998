# Fine-tuning on ImageNet-1K, Table 10: 30 epochs at a constant 5e-5, weight decay 1e-8, gradients clipped at 1, moving
# average of the weights at 0.9999, no cut to the centre, at the model's own image size. RandAugment, MixUp and label
# smoothing as before; after ImageNet-21K the paper has no MixUp (`model.train_cfg=None`).
_base_ = ["./classification-paper.py"]

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadCheckedImage"),
            dict(type="RandomResizedCrop", scale=None, backend="pillow", interpolation="bicubic"),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(
                type="RandAugment",
                policies="timm_increasing",
                num_policies=2,
                total_level=30,
                magnitude_level=15,
                hparams=dict(pad_val=[104, 116, 124], interpolation="bicubic"),
            ),
            dict(type="PackInputs"),
        ]
    )
)
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadCheckedImage"),
            dict(type="Resize", scale=None, backend="pillow", interpolation="bicubic"),
            dict(type="PackInputs"),
        ]
    )
)
param_scheduler = [dict(type="ConstantLR", factor=1.0, by_epoch=True, begin=0, end=30)]
train_cfg = dict(by_epoch=True, max_epochs=30)
optim_wrapper = dict(optimizer=dict(lr=5e-5, weight_decay=1e-8))
custom_hooks = [dict(type="EMAHook", momentum=1e-4)]
