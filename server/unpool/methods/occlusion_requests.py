"""Requests and results of occlusion: frozen, transport free."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unpool.graph.model import Array


class Mode(enum.Enum):
    """How occluded inputs are run."""

    AUTO = "auto"
    """Boxes where they pay, by the cost model, and ONNX Runtime for the rest."""
    BOXES = "boxes"
    """Boxes as far as the operators allow and they are smaller than the plane."""
    BRUTE_FORCE = "brute force"
    """The whole network on every occluded input, in batches."""


class FillKind(enum.Enum):
    """What stands where the window hides the input."""

    CONSTANT = "constant"
    """One value, or one for each channel."""
    BLUR = "blur"
    """The input itself, blurred."""
    NOISE = "noise"
    """Normal noise with the mean and the deviation of each channel of the input."""
    TENSOR = "tensor"
    """A given array."""


@dataclass(frozen=True, eq=False)
class Fill:
    """What stands where the window hides the input, in the input's own values.

    Attributes:
        kind: which.
        values: of a constant: one, or one for each channel, in the order in which the model is fed.
        radius: of a blur: its standard deviation, in elements.
        seed: of noise.
        tensor: a given array, of the input's shape or broadcast to it.
    """

    kind: FillKind = FillKind.CONSTANT
    values: tuple[float, ...] = (0.0,)
    radius: float = 8.0
    seed: int = 0
    tensor: Array | None = None


@dataclass(frozen=True)
class Target:
    """What is scored: the sum over a box of one output, which may be a single element.

    Attributes:
        lower, upper: half open, one entry for each axis of the output but the batch.
        output: its name; ``None`` is the output that reads as class scores.
    """

    lower: tuple[int, ...]
    upper: tuple[int, ...]
    output: str | None = None

    @classmethod
    def element(cls, *index: int, output: str | None = None) -> Target:
        """A single element, such as one class."""
        return cls(index, tuple(i + 1 for i in index), output)


@dataclass(frozen=True, eq=False)
class OcclusionRequest:
    """A question for what hiding each place of an input costs (Zeiler & Fergus 2013, section 4.2 and Figure 7).

    Attributes:
        window: extent along each spatial axis of the input, or, where it has none, along each axis but the batch; a
            single one holds for all.
        stride: steps along each spatial axis; a single one holds for all. Windows begin at
            ``range(0, size - window + 1, stride)``.
        positions: instead of a stride, where windows begin: one index per spatial axis each.
        fill: what stands in the window.
        targets: what is scored, in this order.
        top: this many of the strongest classes of the whole input are scored, behind ``targets``.
        output: which output gives the classes and the labels; ``None`` is the first that reads as scores.
        probability: softmax over an output's channels before it is scored, unless it ends in one.
        layer: whose strongest feature map of the whole input is summed up at each position.
        mode: how.
        only: numbers of positions, row by row, that are wanted; ``None`` is all of them.
        budget: the most positions that may be asked for.
    """

    window: tuple[int, ...]
    stride: tuple[int, ...] = (1,)
    positions: tuple[tuple[int, ...], ...] | None = None
    fill: Fill = Fill()  # frozen
    targets: tuple[Target, ...] = ()
    top: int = 0
    output: str | None = None
    probability: bool = False
    layer: str | None = None
    mode: Mode = Mode.AUTO
    only: tuple[int, ...] | None = None
    budget: int = 1 << 20


@dataclass(frozen=True)
class Scored:
    """A target as it was understood, and the score of the whole input."""

    target: Target
    output: str
    baseline: float


@dataclass(frozen=True)
class SummedMap:
    """The feature map that is summed up: its layer, ``alias`` (or empty), channel, and its sum on the whole input."""

    layer: str
    alias: str
    channel: int
    baseline: float


@dataclass(frozen=True, eq=False)
class OcclusionHeader:
    """What holds for a whole answer.

    Attributes:
        plane: extent of the input along each axis that the window slides over.
        window, stride: one entry per spatial axis; the stride is empty where positions were given.
        shape: extents of the grid; with given positions their number.
        origins: where each window begins, int64 (positions, axes), row by row.
        targets: what is scored.
        label_output: the output whose strongest class is told; empty where none reads as scores.
        label: that class on the whole input, or -1.
        map: the feature map that is summed up, if any.
        total: how many positions follow.
        boxed: the share of a whole forward's multiply-adds that lies in nodes run on boxes; 0 is brute force.
        saved: multiply-adds of a whole forward over those that a position takes, on average.
        warnings: in sentences.
    """

    plane: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    shape: tuple[int, ...]
    origins: npt.NDArray[np.int64]
    targets: tuple[Scored, ...]
    label_output: str
    label: int
    map: SummedMap | None
    total: int
    boxed: float = 0.0
    saved: float = 1.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class OcclusionTile:
    """Some positions of the grid, the coarsest first.

    Attributes:
        numbers: which positions, counted row by row, int64 (K,).
        scores: float32 (targets, K).
        labels: the strongest class, int64 (K,); empty where no output reads as scores.
        sums: of the feature map, float64 (K,); empty where no layer was asked for.
        completed: how many positions were sent, these included.
        coarse: they belong to the first, coarse pass.
    """

    numbers: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    sums: npt.NDArray[np.float64]
    completed: int
    coarse: bool

    @property
    def nbytes(self) -> int:
        """The bytes of the values."""
        return self.numbers.nbytes + self.scores.nbytes + self.labels.nbytes + self.sums.nbytes
