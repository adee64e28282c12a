"""Data sets to scan: crops of real photographs as folders, Parquet and arrays."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tests import zoo


def crops(count: int, side: int = 96, seed: int = 0) -> list[npt.NDArray[np.uint8]]:
    """Crops of the photographs, uint8 (side, side, 3)."""
    rng = np.random.default_rng(seed)
    names = zoo.picture_names()
    found = []
    for i in range(count):
        picture = Image.open(zoo.picture_path(names[i % len(names)])).convert("RGB")
        extent = min(picture.size) // 2
        left, top = (int(rng.integers(0, size - extent)) for size in picture.size)
        found.append(np.asarray(picture.crop((left, top, left + extent, top + extent)).resize((side, side))))
    return found


def folder(root: Path, pictures: list[npt.NDArray[np.uint8]], *, broken: bool = True) -> Path:
    """PNG files in two subfolders, and one file that is no picture."""
    for i, pixels in enumerate(pictures):
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "ab"[i % 2] / f"{i:04d}.png")
    if broken:
        (root / "a" / "broken.jpg").write_bytes(b"this is no picture")
    return root


def table(path: Path, pictures: list[npt.NDArray[np.uint8]], *, rows: int = 7) -> Path:
    """Parquet in the layout of Hugging Face, in small row groups."""
    encoded = []
    for i, pixels in enumerate(pictures):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": f"{i}.png"})
    names = b'{"info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["ant", "bee"]}}}}'
    found = pa.table({"image": encoded, "label": [i % 2 for i in range(len(pictures))]})
    pq.write_table(found.replace_schema_metadata({b"huggingface": names}), path, row_group_size=rows)
    return path
