"""Pictures of what a trained network does, written beside its metrics: `pictures/` of a run's folder.

The first images of the scored split give `truth_<k>.png` and `prediction_<k>.png` (boxes above a score, or masks laid
over the image) and, where the network has generalized attention, `attention_<k>_<term>.png`: for one query, the weights
of all keys, mean over heads, by each of E1..E4 alone and by their sum (`all`), of the last layer of the finest
map. The query, a cross, is the middle of the largest object, or of the largest patch of the rarest class.
`pictures.json` says what stands where. The same checkpoint gives the same pictures.
"""

import json
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

IMAGES = 3
SHORTEST = 160  # pixels, of a picture's shorter side
SCORE = 0.3
COLOURS = ((230, 60, 50), (40, 130, 230), (60, 190, 90), (240, 190, 40), (170, 80, 210), (60, 200, 210), (250, 130, 30))


def write_pictures(model, dataset, folder: Path, kind: str) -> None:
    """Write the pictures of the first images of `dataset`; `kind` is "boxes" (mmdet) or "masks" (mmseg)."""
    from mmengine.dataset import pseudo_collate

    folder.mkdir(exist_ok=True)
    model.eval()
    names, classes = [], dataset.metainfo["classes"]
    for number in range(min(IMAGES, len(dataset))):
        item = dataset[number]
        image = _image(item["inputs"])
        layers = _attention_layers(model)
        with torch.no_grad(), _inputs_of(layers) as seen:
            prediction = model.test_step(pseudo_collate([item]))[0]
        if kind == "boxes":
            truth = _true_boxes(dataset.get_data_info(number), prediction)
            pictures, query = _boxes(truth, prediction, image), _middle_of_box(truth[0], image.size)
        else:
            mask = item["data_samples"].gt_sem_seg.data[0].numpy()
            pictures, query = _masks(mask, prediction, image, dataset.metainfo["palette"]), _middle_of_class(mask)
        for name, picture in zip((f"truth_{number}", f"prediction_{number}"), pictures, strict=True):
            _enlarged(picture).save(folder / f"{name}.png")
            names.append(name)
        if seen:
            names += _write_attention(layers, seen, query, image, folder, number)
    facts = {"kind": kind, "classes": list(classes), "score": SCORE if kind == "boxes" else None, "pictures": names}
    (folder / "pictures.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


@contextmanager
def _inputs_of(layers: dict):
    """Yields a dict that fills with what goes into each layer, by the layer's name."""
    seen = {}

    def look(name: str):
        return lambda module, inputs: seen.update({name: inputs[0].detach()})

    handles = [layer.register_forward_pre_hook(look(name)) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _image(inputs: torch.Tensor) -> Image.Image:
    """The network's input before normalisation (3 x H x W, BGR) as a picture."""
    return Image.fromarray(inputs.permute(1, 2, 0).numpy()[..., ::-1].astype(np.uint8))


def _enlarged(picture: Image.Image) -> Image.Image:
    times = max(1, -(-SHORTEST // min(picture.size)))
    return picture.resize([side * times for side in picture.size], Image.Resampling.NEAREST)


def _scale(prediction) -> np.ndarray:
    """From the original image, in which boxes are given, to the network's input, for x0 y0 x1 y1."""
    return np.tile(prediction.metainfo["scale_factor"], 2)


def _true_boxes(info: dict, prediction) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.array([thing["bbox"] for thing in info["instances"]], np.float64).reshape(-1, 4) * _scale(prediction)
    return boxes, np.array([thing["bbox_label"] for thing in info["instances"]], int)


def _boxes(truth: tuple, prediction, image: Image.Image) -> tuple[Image.Image, Image.Image]:
    sure = prediction.pred_instances[prediction.pred_instances.scores >= SCORE]
    predicted = sure.bboxes.cpu().numpy() * _scale(prediction), sure.labels.cpu().numpy()
    return _with_boxes(image, *truth), _with_boxes(image, *predicted)


def _with_boxes(image: Image.Image, boxes: np.ndarray, labels: np.ndarray) -> Image.Image:
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
        pen.rectangle(box, outline=COLOURS[label % len(COLOURS)], width=max(1, min(image.size) // 150))
    return drawn


def _masks(truth: np.ndarray, prediction, image: Image.Image, palette: list) -> tuple[Image.Image, Image.Image]:
    masks = truth, prediction.pred_sem_seg.data[0].cpu().numpy()
    return tuple(_with_mask(image, mask, np.array(palette, np.uint8)) for mask in masks)


def _with_mask(image: Image.Image, mask: np.ndarray, palette: np.ndarray) -> Image.Image:
    if mask.shape[::-1] != image.size:
        mask = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(image.size, Image.Resampling.NEAREST))
    known = (mask < len(palette))[..., None]
    pixels = np.asarray(image)
    mixed = (0.45 * pixels + 0.55 * palette[np.where(known[..., 0], mask, 0)]).astype(np.uint8)
    return Image.fromarray(np.where(known, mixed, pixels // 3))


def _middle_of_box(boxes: np.ndarray, size: tuple[int, int]) -> tuple[float, float]:
    """(x, y) in 0..1 of the middle of the largest box; of the image where there is none."""
    if not len(boxes):
        return 0.5, 0.5
    x0, y0, x1, y1 = max(boxes.tolist(), key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
    return (x0 + x1) / 2 / size[0], (y0 + y1) / 2 / size[1]


def _middle_of_class(mask: np.ndarray) -> tuple[float, float]:
    """(x, y) in 0..1 of the innermost pixel of the class that has the fewest."""
    import cv2

    kinds, counts = np.unique(mask[mask != 255], return_counts=True)
    if not len(kinds):
        return 0.5, 0.5
    inside = cv2.distanceTransform((mask == kinds[counts.argmin()]).astype(np.uint8), cv2.DIST_L2, 3)
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    return (column + 0.5) / mask.shape[1], (row + 0.5) / mask.shape[0]


def _attention_layers(model) -> dict:
    # A run without the operator must not import it: it would then depend on a file that it does not use.
    operator = sys.modules.get("plugins.operators.generalized_attention")
    return {n: m for n, m in model.named_modules() if operator and isinstance(m, operator.GeneralizedAttention)}


def _write_attention(layers: dict, seen: dict, query: tuple, image: Image.Image, folder: Path, number: int) -> list:
    from plugins.operators.generalized_attention import attention_maps

    finest = max(x.shape[2] * x.shape[3] for x in seen.values())
    name = [name for name, x in seen.items() if x.shape[2] * x.shape[3] == finest][-1]
    h, w, _, _ = layers[name].grids(*seen[name].shape[2:])
    row, column = min(int(query[1] * h), h - 1), min(int(query[0] * w), w - 1)
    written = []
    for term, weights in attention_maps(layers[name], seen[name], row, column).items():
        _heat(weights[0].mean(0).cpu().numpy(), query, image).save(folder / f"attention_{number}_{term}.png")
        written.append(f"attention_{number}_{term}")
    return written


def _heat(weights: np.ndarray, query: tuple, image: Image.Image) -> Image.Image:
    """The image in grey with the weights, relative to the largest, in red, and a cross at the query."""
    large = _enlarged(image)
    heat = Image.fromarray((weights / weights.max()).astype(np.float32)).resize(large.size, Image.Resampling.BILINEAR)
    share = 0.75 * np.asarray(heat)[..., None].clip(0, 1)
    grey = np.asarray(large.convert("L"))[..., None] * 0.6
    mixed = Image.fromarray(((1 - share) * grey + share * np.array((255, 60, 20))).astype(np.uint8))
    pen, reach = ImageDraw.Draw(mixed), max(4, min(large.size) // 30)
    x, y = query[0] * large.size[0], query[1] * large.size[1]
    for ends in ((x - reach, y, x + reach, y), (x, y - reach, x, y + reach)):
        pen.line(ends, fill=(80, 230, 255), width=max(1, reach // 4))
    return mixed
