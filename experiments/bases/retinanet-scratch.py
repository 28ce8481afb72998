# RetinaNet with FPN on small pictures from scratch, on a CPU: 64 channels in the pyramid and two layers in the heads.
_base_ = ["detection-scratch.py"]

norm = dict(type="GN", num_groups=8, requires_grad=True)
width = 64

model = dict(
    type="RetinaNet",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(norm_cfg=norm),  # the rest is the arm's
    neck=dict(
        type="FPN",
        in_channels=None,
        out_channels=width,
        start_level=1,
        add_extra_convs="on_output",
        num_outs=4,
        norm_cfg=norm,
    ),
    bbox_head=dict(
        type="RetinaHead",
        num_classes=None,  # those of the data
        in_channels=width,
        stacked_convs=2,
        feat_channels=width,
        norm_cfg=norm,
        anchor_generator=dict(
            type="AnchorGenerator",
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=[0.5, 1.0, 2.0],
            strides=[8, 16, 32, 64],
        ),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
    ),
    train_cfg=dict(
        assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1),
        sampler=dict(type="PseudoSampler"),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=200, min_bbox_size=0, score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=50
    ),
)
