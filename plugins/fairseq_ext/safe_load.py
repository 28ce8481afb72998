"""Lets `torch.load(weights_only=True)`, today's default, read the checkpoints that fairseq writes.

Beside weights and plain values fairseq stores its options, for models of its older kind such as `transformer` in an
argparse.Namespace. That class holds plain values only; nothing else is allowed, so a checkpoint still cannot run code.
"""

import argparse

import torch

torch.serialization.add_safe_globals([argparse.Namespace])
