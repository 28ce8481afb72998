"""mmseg without mmdet, mmpretrain and timm: what the image probes use of it, imported in a third of the time.

mmseg imports mmdet for two of its heads (`MaskFormerHead`, `Mask2FormerHead`), mmpretrain for one data set
(`OneDLDataset`) and timm for one backbone (`TIMMBackbone`) where they are installed, and does without otherwise. Probes
are short and need none of them. In a process that has imported mmseg or these before, this changes nothing.
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


with without("mmdet"), without("mmpretrain"), without("timm"):
    import mmseg.datasets as datasets  # noqa: F401 - mmengine imports it with the first look-up in a registry of mmseg
    from mmseg.evaluation import IoUMetric as IoUMetric
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead as BaseDecodeHead
    from mmseg.registry import DATASETS as DATASETS
    from mmseg.registry import METRICS as METRICS
    from mmseg.registry import MODELS as MODELS
    from mmseg.structures import SegDataSample as SegDataSample
