"""What comes back of an occlusion: tiles as they come, and the grid that they make."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from unpool.client.inputs import ImageLike
from unpool.client.results import Geometry, Projection, Provenance
from unpool.pictures import png_bytes

Floats: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """A target that is no class: the sum over a half-open box of an output's axes but the batch.

    Attributes:
        lower, upper: one entry for each of them.
        output: its name; empty is the output that gives classes.
    """

    lower: tuple[int, ...]
    upper: tuple[int, ...]
    output: str = ""


TargetLike: TypeAlias = int | str | Region
"""A class by its index or by its label, or a region of an output."""


@dataclass(frozen=True)
class ScoredTarget:
    """A target as the server understood it.

    Attributes:
        key: what ``OcclusionGrid.scores`` has it under: as it was asked for, or the index of a top class.
        output: name of the output.
        lower, upper: the box in it, without the batch axis.
        index, label: of the class, where it is one; else -1 and empty.
        baseline: score of the whole input.
    """

    key: TargetLike
    output: str
    lower: tuple[int, ...]
    upper: tuple[int, ...]
    index: int
    label: str
    baseline: float

    @property
    def name(self) -> str:
        """The class's label, or what stands for it."""
        if self.label:
            return self.label
        return str(self.index) if self.index >= 0 else f"{self.output} {self.lower} to {self.upper}"


@dataclass(frozen=True, eq=False)
class OcclusionHeader:
    """What holds for a whole answer.

    Attributes:
        provenance, geometry: how it is made, and where.
        window, stride: one entry per spatial axis; the stride is empty where positions were given.
        shape: extents of the grid, (rows, columns) for pictures; with given positions their number.
        begins: where windows begin along each axis of the grid; with given positions an array of them.
        targets: what is scored.
        label_output: the output whose strongest class is told; empty where none reads as class scores.
        label_index, label: that class of the whole input, or -1 and empty.
        layer, alias, channel: the feature map that is summed up; empty where none was asked for.
        map_sum: its sum on the whole input.
        total: how many positions come.
        example, overall: which of several pictures it is about, from 0, and how many positions come for all of them.
        boxed: share of a whole run's multiply-adds in nodes that are run on boxes; 0 is brute force.
        saved: multiply-adds of a whole run over those of a position, on average.
        probability: class scores are probabilities.
        fill: what stands in the window, in words.
        warnings: what a user should know, in sentences.
    """

    provenance: Provenance
    geometry: Geometry
    window: tuple[int, ...]
    stride: tuple[int, ...]
    shape: tuple[int, ...]
    begins: tuple[npt.NDArray[np.int64], ...] = field(repr=False)
    targets: tuple[ScoredTarget, ...]
    label_output: str
    label_index: int
    label: str
    layer: str
    alias: str
    channel: int
    map_sum: float
    total: int
    boxed: float
    saved: float
    probability: bool
    fill: str
    warnings: tuple[str, ...]
    example: int
    overall: int


@dataclass(frozen=True, eq=False)
class OcclusionTile:
    """Some positions of the grid.

    Attributes:
        header: what holds for the whole answer; of several pictures, for the one that ``header.example`` tells.
        numbers: which, counted row by row: int64 (K,); ``places`` are their grid coordinates.
        scores: float32 (targets, K).
        labels: the strongest class, int64 (K,); empty where no output reads as class scores.
        map_sums: of the feature map, float64 (K,); empty where no layer was asked for.
        completed: how many positions were sent, these included.
        coarse: they belong to the first pass over a tenth of the positions or less.
    """

    header: OcclusionHeader = field(repr=False)
    numbers: npt.NDArray[np.int64]
    scores: Floats
    labels: npt.NDArray[np.int64]
    map_sums: npt.NDArray[np.float64]
    completed: int
    coarse: bool

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Grid coordinates, int64 (K, axes)."""
        return np.stack(np.unravel_index(self.numbers, self.header.shape), 1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class OcclusionGrid:
    """The grid of an occlusion, whole or as far as it has come.

    Attributes:
        header: how it was made.
        scores: target -> float32, the grid's shape: what was left of the score; NaN where nothing has come yet.
        labels: the strongest class at each position, int64; -1 where none is known.
        layer_activation: the sum of the layer's strongest feature map at each position, float64; NaN where unknown.
        projection: that map's projection from the whole input, where it was asked for.
    """

    header: OcclusionHeader
    scores: Mapping[TargetLike, Floats] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    layer_activation: npt.NDArray[np.float64] = field(repr=False)
    projection: Projection | None = field(default=None, repr=False)

    @property
    def missing(self) -> npt.NDArray[np.int64]:
        """Numbers of the positions that have not come, to be asked for with ``only=``."""
        known = self._known()
        return np.flatnonzero(~known.reshape(-1)).astype(np.int64)

    def _known(self) -> npt.NDArray[np.bool_]:
        if self.scores:
            return ~np.isnan(next(iter(self.scores.values())))
        if self.header.layer:
            return ~np.isnan(self.layer_activation)
        return self.labels >= 0

    def target(self, key: TargetLike | None = None) -> ScoredTarget:
        """A target of the grid; the first where none is named.

        Raises:
            KeyError: it was not asked for.
        """
        for found in self.header.targets:
            if key is None or key in (found.key, found.index, found.label):
                return found
        raise KeyError(f"{key!r} was not scored; {', '.join(str(t.key) for t in self.header.targets) or 'nothing'} was")

    def drop(self, key: TargetLike | None = None) -> Floats:
        """What hiding each place costs: the whole input's score less what was left; float32, the grid's shape."""
        found = self.target(key)
        cost: Floats = np.float32(found.baseline) - self.scores[found.key]
        return cost

    def label_names(self) -> Mapping[int, int]:
        """Class -> at how many positions it is the strongest, the most frequent first."""
        numbers, counts = np.unique(self.labels[self.labels >= 0], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return {int(numbers[i]): int(counts[i]) for i in order}

    def merged(self, other: OcclusionGrid) -> OcclusionGrid:
        """This grid with what another one of the same question has more.

        Raises:
            ValueError: it is a grid of another question.
        """
        mine, theirs = self.header, other.header
        same = (mine.shape, mine.window, mine.stride) == (theirs.shape, theirs.window, theirs.stride)
        if (
            not same
            or mine.provenance.input_digest != theirs.provenance.input_digest
            or set(self.scores) != set(other.scores)
        ):
            raise ValueError("the grids are of two questions")
        fresh = other._known() & ~self._known()
        return OcclusionGrid(
            mine,
            {k: np.where(fresh, other.scores[k], v) for k, v in self.scores.items()},
            np.where(fresh, other.labels, self.labels),
            np.where(fresh, other.layer_activation, self.layer_activation),
            self.projection or other.projection,
        )

    def save(self, path: str | Path) -> Path:
        """Writes arrays and settings as ``.npz``.

        It holds ``scores`` (targets, ...), ``labels``, ``layer_activation``, ``begins_0``, ``begins_1`` ... where
        windows begin, and ``header``, which is JSON.

        Raises:
            OSError: the file cannot be written.
        """
        from unpool.client.commands.output import plain

        path = Path(path)
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "scores": np.stack(list(self.scores.values())) if self.scores else np.zeros((0, *self.header.shape)),
            "labels": self.labels,
            "layer_activation": self.layer_activation,
            "header": np.array(json.dumps(plain(self.header), ensure_ascii=False)),
        }
        arrays |= {f"begins_{axis}": begins for axis, begins in enumerate(self.header.begins)}
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        return path

    def overlay(self, image: ImageLike, key: TargetLike | None = None, *, strength: float = 0.6) -> Image.Image:
        """The picture with what hiding each place costs laid over it: the brighter, the more.

        Raises:
            ValueError: no picture was asked about, or the grid has no rows and columns.
        """
        from unpool.client import occlusion_figures

        return occlusion_figures.overlay(self, image, key, strength=strength)

    def figure(self, image: ImageLike | None = None, *, side: int = 200) -> Image.Image:
        """The paper's panel: the picture, (b) the feature map's sum, (c) its projection, (d) scores, (e) classes.

        Raises:
            ValueError: the grid has no rows and columns.
        """
        from unpool.client import occlusion_figures

        return occlusion_figures.panel(self, image, side=side)

    def _repr_png_(self) -> bytes | None:
        return png_bytes(self.figure()) if len(self.header.shape) == 2 else None


class GridBuilder:
    """Puts tiles together."""

    def __init__(self) -> None:
        self._header: OcclusionHeader | None = None
        self._scores: Floats = np.zeros((0, 0), np.float32)
        self._labels: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._sums: npt.NDArray[np.float64] = np.zeros(0)

    def add(self, tile: OcclusionTile) -> None:
        """Takes a tile."""
        self.begin(tile.header)
        self._scores[:, tile.numbers] = tile.scores
        if len(tile.labels):
            self._labels[tile.numbers] = tile.labels
        if len(tile.map_sums):
            self._sums[tile.numbers] = tile.map_sums

    def begin(self, header: OcclusionHeader) -> None:
        """Takes the header; a second time does nothing."""
        if self._header is None:
            count = math.prod(header.shape)
            self._header = header
            self._scores = np.full((len(header.targets), count), np.nan, np.float32)
            self._labels = np.full(count, -1, np.int64)
            self._sums = np.full(count, np.nan)

    def grid(self, header: OcclusionHeader, projection: Projection | None) -> OcclusionGrid:
        """The grid as far as tiles have come."""
        self.begin(header)
        scores = {
            target.key: row.reshape(header.shape).copy()
            for target, row in zip(header.targets, self._scores, strict=True)
        }
        return OcclusionGrid(
            header,
            scores,
            self._labels.reshape(header.shape).copy(),
            self._sums.reshape(header.shape).copy(),
            projection,
        )


def keys_of(asked: Iterable[TargetLike], indices: Iterable[int]) -> list[TargetLike]:
    """What each target is found under: as it was asked for, then the index of each top class."""
    wanted = list(asked)
    return [wanted[i] if i < len(wanted) else index for i, index in enumerate(indices)]
