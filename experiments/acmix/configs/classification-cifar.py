# As in the AAConv study: CIFAR with random crops and mirroring.
_base_ = ["../../aaconv/configs/classification-cifar.py"]
