# ImageNet-1K from scratch at 224, Table 10: RandAugment 2 x 15, MixUp 0.8, label smoothing 0.1, AdamW 1e-3 to 1e-5 by a
# cosine after 10,000 updates of warm-up, weight decay 0.05, gradients clipped at 1, 300 epochs. Scored on the centre.
# The paper does not say: what share of the range magnitude 15 is (here 15 of 30), and which parameters decay (here all
# but norms, biases and tables of relative position).
_base_ = ["mmpretrain::_base_/default_runtime.py"]

custom_imports = dict(imports=["plugins.openmm_ext.loading", "plugins.openmm_ext.class_folders"])
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
model = dict(
    type="ImageClassifier",
    backbone=None,
    neck=None,
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=None,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
    ),
    data_preprocessor=dict(type="ClsDataPreprocessor", num_classes=1000, mean=mean, std=std, to_rgb=True),
    train_cfg=dict(augments=dict(type="Mixup", alpha=0.8)),
)
loader = dict(num_workers=8, persistent_workers=True, collate_fn=dict(type="default_collate"))
train_dataloader = dict(
    **loader,
    sampler=None,
    dataset=dict(
        type="ClassFolders",
        pipeline=[
            dict(type="LoadCheckedImage"),
            dict(type="RandomResizedCrop", scale=224, backend="pillow", interpolation="bicubic"),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(
                type="RandAugment",
                policies="timm_increasing",
                num_policies=2,
                total_level=30,
                magnitude_level=15,
                hparams=dict(pad_val=[round(x) for x in mean[::-1]], interpolation="bicubic"),
            ),
            dict(type="PackInputs"),
        ],
    ),
)
test_dataloader = dict(
    **loader,
    batch_size=100,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ClassFolders",
        test_mode=True,
        pipeline=[
            dict(type="LoadCheckedImage"),
            dict(type="ResizeEdge", scale=256, edge="short", backend="pillow", interpolation="bicubic"),
            dict(type="CenterCrop", crop_size=224),
            dict(type="PackInputs"),
        ],
    ),
)
test_evaluator = dict(type="Accuracy", topk=(1, 5))
test_cfg = dict()
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=True, begin=0, end=32),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, by_epoch=True, begin=32, end=300),
]
train_cfg = dict(by_epoch=True, max_epochs=300)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.001, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys={".table": dict(decay_mult=0.0)}),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
