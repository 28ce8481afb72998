# CIFAR with random crops and mirroring, SGD.
_base_ = ["../../bases/classification-cifar.py"]
