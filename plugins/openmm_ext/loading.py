"""Image loading that names the file that cannot be read."""

from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS


class UnreadableImage(ValueError):
    """An image file is missing or damaged; the message is one line that names it."""


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """`LoadImageFromFile` through Pillow, which refuses a truncated file where OpenCV fills it up with grey."""

    def __init__(self, **options) -> None:
        super().__init__(imdecode_backend="pillow", **options)

    def transform(self, results: dict) -> dict:
        """Add the image to `results`; raises `UnreadableImage`."""
        try:
            return super().transform(results)
        except (OSError, SyntaxError, ValueError) as error:
            message = f"{results['img_path']}: not a readable image ({error}); prepare the data again"
            raise UnreadableImage(message.replace("\n", " ")) from error
