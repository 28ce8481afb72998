"""The seed of a run and the number of its threads, set before anything draws or computes."""

from __future__ import annotations

import os
import random


def seed_everything(seed: int, threads: int) -> None:
    """Seeds Python, numpy and torch (all devices) and sets the threads of an operation.

    OMP_NUM_THREADS is for the processes that a run starts; in this one torch has read it already.
    """
    import numpy
    import torch

    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
