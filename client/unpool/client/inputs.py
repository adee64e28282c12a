"""What a model is shown: pictures and arrays to messages."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from unpool.client import arrays
from unpool.client.errors import InvalidArgumentError
from unpool.v1 import input_pb2

ImageLike: TypeAlias = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]
"""A picture: a path, the bytes of a file, a Pillow picture, or uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."""

_SENT_AS_THEY_ARE = frozenset({"PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"})
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})


def build_input(
    image: ImageLike | None,
    tensor: npt.ArrayLike | None,
    inputs: Mapping[str, npt.ArrayLike] | None,
    of: str | None,
) -> input_pb2.Input:
    """Builds the input of a request from exactly one of ``image``, ``tensor`` and ``inputs``.

    Raises:
        InvalidArgumentError: none or several are given, ``of`` without ``inputs``, or a picture that cannot be read.
        OSError: a path that cannot be read.
    """
    given = [name for name, value in (("image", image), ("tensor", tensor), ("inputs", inputs)) if value is not None]
    if len(given) != 1:
        what = f"not {' and '.join(given)} together" if given else "none was"
        raise InvalidArgumentError(f"one of image, tensor and inputs must be given, {what}", field="input")
    if of is not None and inputs is None:
        raise InvalidArgumentError("names one of several inputs and goes with inputs={name: array}", field="of")
    if image is not None:
        return input_pb2.Input(picture=input_pb2.Picture(encoded=encode(image)))
    if tensor is not None:
        return input_pb2.Input(tensor=arrays.to_message(tensor, "tensor"))
    named = [
        input_pb2.NamedTensor(name=name, tensor=arrays.to_message(array, f"inputs[{name}]"))
        for name, array in (inputs or {}).items()
    ]
    return input_pb2.Input(tensors=input_pb2.NamedTensors(tensors=named, of=of or ""))


def encode(image: ImageLike) -> bytes:
    """The bytes to send for a picture: a file in an accepted format as it is, anything else as PNG, without loss.

    Raises:
        InvalidArgumentError: it is no picture that Pillow can read, or an array of another dtype or shape.
        OSError: a path that cannot be read.
    """
    if isinstance(image, str | Path):
        image = Path(image).read_bytes()
    if isinstance(image, bytes):
        picture = _open(image)
        if picture.format in _SENT_AS_THEY_ARE:
            return image
        return _png(picture)
    return _png(_from_array(image) if isinstance(image, np.ndarray) else image)


def upright(image: ImageLike) -> Image.Image:
    """The picture in whose pixels ``picture_box`` is counted: recorded orientation applied, transparency over black.

    Returns:
        A picture of mode ``RGB``.

    Raises:
        InvalidArgumentError: it is no picture that Pillow can read, or an array of another dtype or shape.
        OSError: a path that cannot be read.
    """
    if isinstance(image, str | Path):
        image = Path(image).read_bytes()
    if isinstance(image, bytes):
        image = _open(image)
    elif isinstance(image, np.ndarray):
        image = _from_array(image)
    image = _eight_bits(ImageOps.exif_transpose(image))
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return image.convert("RGB")


def _open(encoded: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(encoded))
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InvalidArgumentError(
            "this is no picture that can be read; PNG, JPEG, WebP, BMP, GIF and TIFF can", field="image"
        ) from error


def _from_array(array: npt.NDArray[np.uint8]) -> Image.Image:
    if array.dtype != np.uint8:
        raise InvalidArgumentError(
            f"an array given as image must be uint8 (H, W, C), this is {array.dtype.name} {list(array.shape)}; "
            "values that are the model's input already go in as tensor",
            field="image",
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or 0 in array.shape:
        raise InvalidArgumentError(
            f"an array given as image must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), this is {list(array.shape)}",
            field="image",
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _eight_bits(picture: Image.Image) -> Image.Image:
    """As the server reads them: Pillow's own conversion would cut 16 bits off at 255."""
    if picture.mode == "F":
        raise InvalidArgumentError(
            "this picture holds floating-point pixels, whose range is not known; give 8 or 16 bits", field="image"
        )
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture).astype(np.int64) // 257
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _png(picture: Image.Image) -> bytes:
    try:
        picture = _eight_bits(ImageOps.exif_transpose(picture))
    except OSError as error:
        raise InvalidArgumentError(f"this picture cannot be read: {error}", field="image") from error
    if picture.mode not in _PNG_MODES:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
