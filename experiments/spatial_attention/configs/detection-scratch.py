# Faster R-CNN with FPN in the shape of the paper's (ResNet-50 bottlenecks, 3-4-6-3), narrowed to train from scratch on
# a CPU.
_base_ = ["mmdet::_base_/models/faster-rcnn_r50_fpn.py", "mmdet::_base_/default_runtime.py"]

# From scratch on batches of a few images, batch statistics are too noisy: group normalisation throughout.
norm = dict(type="GN", num_groups=8, requires_grad=True)
width = 64

model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(
        base_channels=16, frozen_stages=-1, norm_cfg=norm, norm_eval=False, zero_init_residual=False, init_cfg=None
    ),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=width, norm_cfg=norm),
    rpn_head=dict(in_channels=width, feat_channels=width, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width, roi_layer=dict(output_size=5, sampling_ratio=1)),
        bbox_head=dict(in_channels=width, fc_out_channels=128, roi_feat_size=5),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=64),
        rcnn=dict(sampler=dict(num=32)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=64), rcnn=dict(max_per_img=50)),
)

custom_imports = dict(imports=["plugins.openmm_ext.loading"])
load = [
    dict(type="LoadCheckedImage"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=None, keep_ratio=True),  # to the size that the data set's manifest states
]
facts = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
train_dataloader = dict(
    num_workers=0,
    sampler=None,
    dataset=dict(type="CocoDataset", pipeline=[*load, dict(type="RandomFlip", prob=0.5), dict(type="PackDetInputs")]),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CocoDataset",
        test_mode=True,
        pipeline=[*load, dict(type="PackDetInputs", meta_keys=facts)],
    ),
)
test_evaluator = dict(type="CocoMetric", metric="bbox")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.001, weight_decay=0.05),
    clip_grad=dict(max_norm=35, norm_type=2),
)
# The 1x schedule: a tenth of the rate after 8 of 12 epochs and again after 11.
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
train_cfg = dict(max_epochs=12)
