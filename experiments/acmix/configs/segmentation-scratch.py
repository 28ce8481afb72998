# Semantic FPN on small pictures from scratch, on a CPU: 64 channels in the pyramid.
_base_ = ["../../bases/segmentation-scratch.py"]

norm = dict(type="GN", num_groups=8, requires_grad=True)
width = 64

model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=32,
    ),
    backbone=dict(norm_cfg=norm),  # the rest is the arm's
    neck=dict(type="FPN", in_channels=None, out_channels=width, num_outs=4, norm_cfg=norm),
    decode_head=dict(
        type="FPNHead",
        in_channels=[width] * 4,
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=width,
        dropout_ratio=0.1,
        num_classes=None,  # those of the data
        norm_cfg=norm,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
