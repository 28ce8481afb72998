# A residual network on small pictures from scratch, mirroring alone.
_base_ = ["../../bases/classification-scratch.py"]
