"""Image loading that names the file that cannot be read; the errors of files that the engine turns into one line."""

from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS


class UnreadableImage(ValueError):
    """An image file is missing, damaged or of another size; the message is one line that names it."""


class UnfitCheckpoint(ValueError):
    """Weights do not belong to this network; the message is one line that names the first that does not fit."""


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """`LoadImageFromFile` through Pillow, which refuses a truncated file where OpenCV fills it up with grey.

    Args:
        size: (width, height) that an image must have; any where it is None.
    """

    def __init__(self, size: tuple[int, int] | None = None, **options) -> None:
        super().__init__(imdecode_backend="pillow", **options)
        self.size = size

    def transform(self, results: dict) -> dict:
        """Add the image to `results`; raises `UnreadableImage`."""
        try:
            results = super().transform(results)
        except (OSError, SyntaxError, ValueError) as error:
            message = f"{results['img_path']}: not a readable image ({error}); prepare the data again"
            raise UnreadableImage(message.replace("\n", " ")) from error
        height, width = results["img"].shape[:2]
        if self.size is not None and (width, height) != tuple(self.size):
            wanted = "x".join(map(str, self.size))
            raise UnreadableImage(
                f"{results['img_path']}: an image of {width}x{height}, all others have {wanted}; prepare the data again"
            )
        return results
