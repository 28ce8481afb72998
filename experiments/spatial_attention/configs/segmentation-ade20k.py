# As segmentation-paper.py on ADE20K: crops of 512x512, 150 classes, 80k updates.
_base_ = ["mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py"]
