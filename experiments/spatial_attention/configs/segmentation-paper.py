# Cityscapes at 769x769: a dilated ResNet-50 with mmseg's fully convolutional head, pretrained on ImageNet, 40k updates.
# The arm adds its operators. Which network and recipe the paper took could not be read; this is mmseg's standard one.
_base_ = ["mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-769x769.py"]
