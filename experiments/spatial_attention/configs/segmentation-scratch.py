# mmseg's fully convolutional head on a dilated ResNet (50 layers, stride 8), narrowed to train from scratch on a CPU.
_base_ = ["mmseg::_base_/models/fcn_r50-d8.py", "../../bases/segmentation-scratch.py"]

# From scratch on batches of a few images, batch statistics are too noisy: group normalisation throughout.
norm = dict(type="GN", num_groups=8, requires_grad=True)

model = dict(
    data_preprocessor=dict(size_divisor=8),
    pretrained=None,
    backbone=dict(base_channels=16, norm_cfg=norm, zero_init_residual=False),
    decode_head=dict(in_channels=512, channels=64, norm_cfg=norm),
    auxiliary_head=None,
)
