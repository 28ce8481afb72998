"""Class folders of which a share is read: mmpretrain's `CustomDataset` for growing training sets."""

from itertools import groupby

from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS


@DATASETS.register_module()
class ClassFolders(CustomDataset):
    """Images of `data_prefix`/<class>/, of each class the first `fraction` by name (at least one).

    Args:
        fraction: in (0, 1]; the share of a smaller fraction is part of that of a larger one.
    """

    def __init__(self, fraction: float = 1.0, **options) -> None:
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction={fraction!r}: must lie in (0, 1]")
        self.fraction = fraction
        super().__init__(**options)

    def load_data_list(self) -> list[dict]:
        """[{"img_path", "gt_label"}] of the images read, class by class."""
        kept = []
        for _, images in groupby(super().load_data_list(), key=lambda image: image["gt_label"]):
            images = list(images)
            kept += images[: max(1, round(self.fraction * len(images)))]
        return kept
