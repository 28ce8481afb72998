"""ImageNet-21K, any of its releases, as class folders: `DATA_ROOT/imagenet21k/{train,val}/<wnid>/*.JPEG`, linked.

Releases differ (10 to 14 million images, up to 21,841 classes) and have no split of their own: the user's folders are
taken as they are, and the manifest counts them. The origin wants an account, so nothing is fetched.
"""

from pathlib import Path

from plugins.datasets.imagenet import link_splits
from plugins.datasets.originals import folder_of
from plugins.datasets.prepare import Source

DEFAULTS: dict = {}
ORIGIN = "ImageNet-21K (image-net.org, where an account is needed; it cannot be fetched), unpacked"


def build(folder: Path, params: dict, source: Source) -> dict:
    """Writes classes/<split>/<wnid>/ (links) into `folder`; returns the facts of the manifest."""
    return link_splits(folder_of(source, "imagenet21k", ORIGIN), folder, ORIGIN)
