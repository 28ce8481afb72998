# RetinaNet on COCO from scratch. The paper's detection recipe could not be read; its multiply-adds fit pictures of
# 640x640. Here: mmdet's RetinaNet with the extra levels taken from the pyramid's own output, a backbone without
# ImageNet weights and with trained batch normalisation, six times the usual twelve epochs.
_base_ = ["mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"]

size = (640, 640)
model = dict(
    backbone=dict(_delete_=True, norm_cfg=dict(type="SyncBN", requires_grad=True), norm_eval=False),
    neck=dict(add_extra_convs="on_output"),
)
load = [dict(type="LoadImageFromFile", backend_args=None), dict(type="LoadAnnotations", with_bbox=True)]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            *load,
            dict(type="RandomResize", scale=size, ratio_range=(0.5, 2.0), keep_ratio=True),
            dict(type="RandomCrop", crop_size=size),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackDetInputs"),
        ]
    )
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=2000),
    dict(type="MultiStepLR", begin=0, end=72, by_epoch=True, milestones=[60, 68], gamma=0.1),
]
train_cfg = dict(max_epochs=72)
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=0.0001), clip_grad=dict(max_norm=35, norm_type=2))
