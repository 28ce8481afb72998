"""mmseg without mmdet: what the image probes use of it, imported in two thirds of the time.

mmseg imports mmdet for two of its heads where it is installed (`MaskFormerHead`, `Mask2FormerHead`) and does without
otherwise. Probes are short and need neither head. In a process that has imported mmseg or mmdet before, this changes
nothing.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(name: str) -> Iterator[None]:
    """Within it, importing the package `name` fails as if it were not installed, unless it was imported before."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None
    try:
        yield
    finally:
        del sys.modules[name]


with without("mmdet"):
    from mmseg.evaluation import IoUMetric as IoUMetric
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead as BaseDecodeHead
    from mmseg.registry import DATASETS as DATASETS
    from mmseg.registry import METRICS as METRICS
    from mmseg.registry import MODELS as MODELS
    from mmseg.structures import SegDataSample as SegDataSample
