"""A picture file into an upright RGB or grey picture, within limits: what arrives here comes from anybody."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from unpool.graph.errors import InvalidArgumentError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
DEFAULT_PIXELS = 50_000_000


def decode(encoded: bytes, *, field: str, pixels: int = DEFAULT_PIXELS) -> Image.Image:
    """Decodes a picture.

    Args:
        encoded: a file in one of ``FORMATS``; of several frames or pages the first.
        field: named by errors.
        pixels: the most that are decoded.

    Returns:
        mode ``RGB`` or ``L``, turned upright by its EXIF orientation, transparency laid over black.

    Raises:
        InvalidArgumentError: empty, undecodable, cut off, or more pixels than allowed.
    """
    if not encoded:
        raise InvalidArgumentError(field, "is empty; give a picture file")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures, which are refused below by our own measure.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
                _refuse_large(image.size, field, pixels)
                image.load()
                return _flat(ImageOps.exif_transpose(image), field)
    except InvalidArgumentError:
        raise
    except UnidentifiedImageError:
        raise InvalidArgumentError(field, f"is not a picture file of a known format ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise InvalidArgumentError(field, f"holds more than {pixels} pixels") from None
    except Exception as error:
        # A decoder fed with broken data raises whatever it stumbled over.
        raise InvalidArgumentError(field, f"cannot be decoded: {str(error)[:200] or type(error).__name__}") from error


def _refuse_large(size: tuple[int, int], field: str, pixels: int) -> None:
    width, height = size
    if width * height > pixels:
        raise InvalidArgumentError(field, f"is {width} by {height} pixels; at most {pixels} pixels are decoded")


def _flat(image: Image.Image, field: str) -> Image.Image:
    if image.mode == "F":
        raise InvalidArgumentError(field, "holds floating-point pixels, whose range is not known; give 8 or 16 bits")
    if image.mode.startswith("I"):
        # 16 bits a pixel, which Pillow's own conversion would cut off at 255.
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray(np.clip(values // 257, 0, 255).astype(np.uint8))
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image.convert("L" if grey else "RGB")
