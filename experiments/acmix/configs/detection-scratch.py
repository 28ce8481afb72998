# RetinaNet on small pictures from scratch.
_base_ = ["../../bases/retinanet-scratch.py"]
