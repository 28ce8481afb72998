# As in the AAConv study: RetinaNet on small pictures from scratch.
_base_ = ["../../aaconv/configs/detection-scratch.py"]
