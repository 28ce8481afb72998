_base_ = ["../../bases/probe.py"]
