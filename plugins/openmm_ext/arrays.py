"""Image probes in memory: data set, batches, preprocessor and metric, all without a step for each image.

A probe's folder holds arrays/<split>_{images,labels,groups}.npy (see `plugins.datasets.probe`): images N x H x W x 3 of
uint8, labels and strata N x h x w of uint8 on tokens, 255 where there is no label.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import FUNCTIONS
from mmengine.structures import PixelData
from torch import Tensor
from torch.utils.data import Dataset

from plugins.openmm_ext.lean_mmseg import DATASETS, METRICS, MODELS, IoUMetric, SegDataSample

NAMES = ("images", "labels", "groups")
UNLABELLED = 255
# Grey and half of the range of what is drawn: images are about within -1 .. 1.
MEAN, SCALE = 128, 64


def load(folder: Path | str, split: str) -> dict[str, np.ndarray]:
    """The arrays of one split."""
    return {name: np.load(Path(folder) / "arrays" / f"{split}_{name}.npy", allow_pickle=False) for name in NAMES}


@DATASETS.register_module()
class ConvattnArrays(Dataset):
    """One split of a probe.

    Args:
        folder: the prepared data set. split: train, val or test. classes: names of the labels.
    An item: (image 3 x H x W of uint8, `SegDataSample` with gt_sem_seg and groups, 1 x h x w of int64).
    """

    def __init__(self, folder: str, split: str, classes: Sequence[str]) -> None:
        arrays = load(folder, split)
        self.images = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous()
        self.labels, self.groups = (torch.from_numpy(arrays[name]).long().unsqueeze(1) for name in NAMES[1:])
        self.metainfo = {"classes": tuple(classes)}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, SegDataSample]:
        # The token grid is the "image" of the labels: nothing is resized.
        shape = tuple(self.labels.shape[2:])
        sample = SegDataSample(metainfo={"ori_shape": shape, "img_shape": shape})
        sample.gt_sem_seg = PixelData(data=self.labels[index])
        sample.groups = PixelData(data=self.groups[index])
        return self.images[index], sample


@FUNCTIONS.register_module()
def convattn_stack(items: Sequence[tuple[Tensor, SegDataSample]]) -> dict:
    """A batch: inputs N x 3 x H x W of uint8, data_samples."""
    images, samples = zip(*items, strict=True)
    return {"inputs": torch.stack(images), "data_samples": list(samples)}


@MODELS.register_module()
class ConvattnArraysPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device; images become (x - 128) / 64."""

    def forward(self, data: dict, training: bool = False) -> dict:
        """data: what `convattn_stack` made; returns the same with inputs of float32."""
        data = self.cast_data(data)
        return {**data, "inputs": data["inputs"].float().sub(MEAN).div(SCALE)}


@METRICS.register_module()
class ConvattnProbeMetric(IoUMetric):
    """mmseg's `IoUMetric`, and the accuracy of the parts of a label and of strata.

    Args:
        parts: {name: [divisor, modulus]}, the part of a label being label // divisor % modulus.
        groups: names of the strata by their numbers.
        facts: what is known of the probe, for the details of a run.
    What is kept of an image: intersect, union, predicted, labelled (tokens by class), right and total (tokens: of the
    label, of each part, of each stratum; `names` has their names).
    """

    def __init__(self, parts: dict, groups: Sequence[str], facts: dict, **options) -> None:
        super().__init__(iou_metrics=["mIoU"], **options)
        self.parts, self.groups, self.facts = parts, tuple(groups), facts
        self.names = ["all", *parts, *(name.replace(" ", "_") for name in groups)]

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Counts a batch; data_samples have pred_sem_seg, gt_sem_seg and groups."""
        predicted, labels, groups = (
            torch.stack([sample[key]["data"].squeeze(0) for sample in data_samples]).flatten(1).cpu()
            for key in ("pred_sem_seg", "gt_sem_seg", "groups")
        )
        valid, classes = labels != self.ignore_index, len(self.dataset_meta["classes"])
        intersect = by_class(labels, valid & (predicted == labels), classes)
        foreseen, labelled = by_class(predicted, valid, classes), by_class(labels, valid, classes)
        hits, counted = [valid & (predicted == labels)], [valid]
        for divisor, modulus in self.parts.values():
            hits.append(valid & (predicted // divisor % modulus == labels // divisor % modulus))
            counted.append(valid)
        for number in range(len(self.groups)):
            counted.append(valid & (groups == number))
            hits.append(hits[0] & counted[-1])
        right, total = (torch.stack([mask.sum(1) for mask in masks], 1) for masks in (hits, counted))
        union = foreseen + labelled - intersect
        self.results += list(zip(intersect, union, foreseen, labelled, right, total, strict=True))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """`IoUMetric`'s scores, and accuracy, accuracy_<part>, accuracy_<stratum> in percent."""
        right, total = (torch.stack([image[place] for image in results]).sum(0).tolist() for place in (4, 5))
        names = ["accuracy", *(f"accuracy_{name}" for name in self.names[1:])]
        # A stratum without a labelled token has no accuracy.
        own = {name: 100 * r / t for name, r, t in zip(names, right, total, strict=True) if t}
        return super().compute_metrics([image[:4] for image in results]) | own


def by_class(labels: Tensor, mask: Tensor, classes: int) -> Tensor:
    """Tokens of each class within the mask; N x tokens -> N x classes, float32 as `IoUMetric` has them."""
    counts = torch.zeros(len(labels), classes)
    return counts.scatter_add_(1, labels.clamp(0, classes - 1), mask.float())
