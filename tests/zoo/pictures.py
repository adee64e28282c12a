"""Photographs from scikit-image's wheel, and the tensors that the models want of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from unpool.converters.packages import package_file

_FILES = {
    "cat": "chelsea.png",
    "astronaut": "astronaut.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
    "motorcycle_left": "motorcycle_left.png",
    "motorcycle_right": "motorcycle_right.png",
    "retina": "retina.jpg",
    "galaxies": "hubble_deep_field.jpg",
    "tissue": "ihc.png",
    "page": "page.png",
}


def picture_names() -> tuple[str, ...]:
    """Names that `picture` knows, the everyday photographs first."""
    return tuple(_FILES)


def picture_path(name: str) -> Path:
    """The picture's file inside the wheel."""
    return package_file("scikit-image", f"skimage/data/{_FILES[name]}")


def picture(name: str) -> npt.NDArray[np.uint8]:
    """A photograph, uint8 `(H, W, 3)`, RGB."""
    with Image.open(picture_path(name)) as image:
        return np.asarray(image.convert("RGB"))
