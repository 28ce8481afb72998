# ADE20K at 512x512, 80k updates of 16 images: in segmentation-paper.yaml give it as train.config, with data
# {name: ade20k}, updates 80000, batch 16, measure 512x512.
_base_ = ["mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py"]
