"""Projections to files: a PNG each, the figure, and a sidecar that says how they were made."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unpool.client import figures
from unpool.client.commands.output import plain
from unpool.client.inputs import upright
from unpool.client.listing import PolicyName
from unpool.client.results import Projection, ProjectionHeader
from unpool.client.tiles import field_extents, patch_tile

_FIGURE_LIMIT = 100


def stem(projection: Projection) -> str:
    """A telling file name without its ending, such as ``conv5_3_c0007_p03-11_guided``."""
    layer = re.sub(r"[^\w.-]+", "-", projection.name).strip("-.") or "layer"
    place = "-".join(f"{index:02d}" for index in projection.position)
    return "_".join((layer, f"c{projection.channel:04d}", *([f"p{place}"] if place else []), projection.header.policy))


def save(
    folder: Path,
    found: Mapping[PolicyName, Sequence[Projection]],
    headers: Mapping[PolicyName, ProjectionHeader],
    image: Path | None,
    *,
    contrast: float,
    zoom: int,
    npz: bool,
) -> list[Path]:
    """Saves projections under each policy.

    Writes into ``folder``, which is made where there is none: for each projection a PNG (and a patch of the picture,
    once for each unit); ``figure.png`` with them all side by side (up to 100 units); ``projections.json`` with the
    settings and every value but the signals; with ``npz``, each policy's signals, a file of arrays named as the PNGs.

    Returns:
        The files, in the order written.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    picture = None if image is None else upright(image)
    entries: list[dict[str, object]] = []
    everything = [projection for projections in found.values() for projection in projections]
    extents = field_extents(everything)
    for projection in everything:
        path = folder / f"{stem(projection)}.png"
        projection.image(contrast=contrast, zoom=zoom).save(path)
        entry: dict[str, object] = {"file": path.name, "policy": projection.header.policy}
        written.append(path)
        if picture is not None and projection.picture_box is not None:
            patch = folder / f"{stem(projection).removesuffix(projection.header.policy)}patch.png"
            side = max(extents.get(projection.layer, (1, 1))) * zoom
            if patch not in written:
                patch_tile(projection, picture, extents.get(projection.layer), side).save(patch)
                written.append(patch)
            entry["patch"] = patch.name
        entries.append({**entry, **_values(projection)})
    if npz:
        for policy, projections in found.items():
            path = folder / f"signals_{policy}.npz"
            _save_arrays(path, {stem(projection): projection.signal for projection in projections})
            written.append(path)
    units = max((len(projections) for projections in found.values()), default=0)
    if 0 < units <= _FIGURE_LIMIT:
        path = folder / "figure.png"
        if len(found) == 1:
            figure = figures.beside(everything, picture, contrast=contrast)
        else:
            figure = figures.compare(found, picture, contrast=contrast)
        figure.save(path)
        written.append(path)
    path = folder / "projections.json"
    sidecar = {"headers": plain(dict(headers)), "contrast": contrast, "zoom": zoom, "projections": entries}
    path.write_text(json.dumps(sidecar, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return [*written, path]


def _values(projection: Projection) -> dict[str, object]:
    values = plain(projection)
    if not isinstance(values, dict):
        raise TypeError("a projection is an object")
    return values


def _save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[np.float32]]) -> None:
    # np.savez takes names as keywords, where one such as "file" would clash: write the members by hand.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
