# ImageNet-1K. The paper's own recipe could not be read in any reachable copy; this is mmpretrain's for ResNet.
_base_ = ["../../bases/classification-imagenet.py"]
