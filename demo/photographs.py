"""Real photographs, and the crops of them that serve as a small validation set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from unpool.converters.packages import package_file

FILES = {
    "cat": "chelsea.png",
    "astronaut": "astronaut.png",
    "coffee": "coffee.png",
    "motorcycle": "motorcycle_left.png",
    "rocket": "rocket.jpg",
}


@dataclass(frozen=True)
class Crop:
    """A square part of a photograph.

    Attributes:
        photograph: its name.
        left: of the square, in the photograph's pixels.
        top: of the square.
        side: of the square.
        image: the part itself, RGB.
    """

    photograph: str
    left: int
    top: int
    side: int
    image: Image.Image


def path(name: str) -> Path:
    """The photograph's file inside scikit-image's wheel."""
    return package_file("scikit-image", f"skimage/data/{FILES[name]}")


def load(name: str) -> Image.Image:
    """The photograph, RGB."""
    with Image.open(path(name)) as image:
        return image.convert("RGB")


def crops(name: str) -> list[Crop]:
    """Overlapping squares as large as the photograph allows, and about half as large."""
    photograph = load(name)
    found: list[Crop] = []
    for scale in (1.0, 0.55):
        side = round(min(photograph.size) * scale)
        for top in _steps(photograph.height, side):
            for left in _steps(photograph.width, side):
                found.append(Crop(name, left, top, side, photograph.crop((left, top, left + side, top + side))))
    return found


def _steps(extent: int, side: int) -> list[int]:
    spare = extent - side
    if spare <= 0:
        return [0]
    count = -(-spare // max(1, round(side * 0.67))) + 1
    return [round(spare * i / (count - 1)) for i in range(count)]
