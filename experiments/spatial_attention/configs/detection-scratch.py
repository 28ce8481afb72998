# Faster R-CNN with FPN in the shape of the paper's (ResNet-50 bottlenecks, 3-4-6-3), narrowed to train from scratch on
# a CPU.
_base_ = ["mmdet::_base_/models/faster-rcnn_r50_fpn.py", "../../bases/detection-scratch.py"]

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
