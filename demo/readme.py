"""Small copies of some figures for the README."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

_LIMIT = 300_000
_CHOSEN = {
    "imagenet_vgg16-top9-conv4_3": "top-nine-conv4_3",
    "imagenet_vgg16-cat-conv3_3-deconvnet": "cat-conv3_3",
    "imagenet_vgg16-cat-conv5_3-policies": "three-policies-conv5_3",
}


def write_small(figures: Path, folder: Path) -> Iterator[Path]:
    """Write the chosen figures as PNG files of less than 300 kB.

    Args:
        figures: folder of the demo's figures.
        folder: where the small ones go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source, name in _CHOSEN.items():
        path = folder / f"{name}.png"
        with Image.open(figures / f"{source}.png") as figure:
            path.write_bytes(_small(figure.convert("RGB")))
        yield path


def _small(figure: Image.Image) -> bytes:
    scale = 1.0
    while True:
        size = (round(figure.width * scale), round(figure.height * scale))
        buffer = io.BytesIO()
        # Maximum coverage: a median cut would spend the palette on the grey and lose the hues.
        resized = figure.resize(size, Image.Resampling.LANCZOS)
        palette = resized.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
        palette.save(buffer, "PNG", optimize=True)
        if buffer.tell() < _LIMIT:
            return buffer.getvalue()
        scale *= 0.95
