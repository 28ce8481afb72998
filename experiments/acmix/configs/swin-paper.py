# ImageNet-1K as in the released Swin code: AdamW, 20 epochs of warm-up and 280 on a cosine, RandAugment, MixUp and
# CutMix, random erasing, label smoothing, clipping at 5. Stochastic depth is a word of the arm.
_base_ = ["classification-paper.py"]

undecayed = dict(decay_mult=0.0)
pixel = [103.53, 116.28, 123.675]  # mean of blue, green, red
model = dict(
    head=dict(
        init_cfg=None,
        cal_acc=False,
        loss=dict(_delete_=True, type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
    ),
    init_cfg=[
        dict(type="TruncNormal", layer="Linear", std=0.02, bias=0.0),
        dict(type="Constant", layer="LayerNorm", val=1.0, bias=0.0),
    ],
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
)
read = dict(type="LoadCheckedImage")
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            read,
            dict(type="RandomResizedCrop", scale=224, backend="pillow", interpolation="bicubic"),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(
                type="RandAugment",
                policies="timm_increasing",
                num_policies=2,
                total_level=10,
                magnitude_level=9,
                magnitude_std=0.5,
                hparams=dict(pad_val=[104, 116, 124], interpolation="bicubic"),
            ),
            dict(
                type="RandomErasing",
                erase_prob=0.25,
                mode="rand",
                min_area_ratio=0.02,
                max_area_ratio=1 / 3,
                fill_color=pixel,
                fill_std=[57.375, 57.12, 58.395],
            ),
            dict(type="PackInputs"),
        ]
    )
)
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            read,
            dict(type="ResizeEdge", scale=256, edge="short", backend="pillow", interpolation="bicubic"),
            dict(type="CenterCrop", crop_size=224),
            dict(type="PackInputs"),
        ]
    )
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=True, begin=0, end=20),
    dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=True, begin=20, end=300),
]
train_cfg = dict(by_epoch=True, max_epochs=300)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=0.001, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999)),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={"relative_position_bias_table": undecayed},
    ),
    clip_grad=dict(_delete_=True, max_norm=5.0, norm_type=2),
)
