"""Families of backbones, one file each; `resnets` and `pyramid` are what several families share."""
