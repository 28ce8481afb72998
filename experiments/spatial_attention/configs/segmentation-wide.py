# As segmentation-paper.py on crops of 512x1024.
_base_ = ["mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py"]
