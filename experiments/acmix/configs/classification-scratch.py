# As in the AAConv study: a residual network on small pictures from scratch, mirroring alone.
_base_ = ["../../aaconv/configs/classification-scratch.py"]
