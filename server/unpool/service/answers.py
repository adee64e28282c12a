"""What is answered, free of transport: frozen values that the handlers give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unpool.engine.geometry import Field
from unpool.graph import Layer
from unpool.graph.model import Array, Axis
from unpool.methods.requests import Projection, ProjectionHeader, ProjectionRequest, Score
from unpool.repository import ChannelOrder, Entry, Parity, Placement, Preprocessing


@dataclass(frozen=True)
class Provenance:
    """How a result was made: model, input, preprocessing (``None`` for tensors), where it ran, with which programs."""

    model: str
    version: int
    digest: str
    input_digest: str
    preprocessing: Preprocessing | None
    provider: str
    device: str
    software: Mapping[str, str]


@dataclass(frozen=True)
class InputGeometry:
    """The looked-at input: plane, place in the picture (``None`` for tensors), channel order of signals at it."""

    input: str
    plane: tuple[int, ...]
    placement: Placement | None
    order: ChannelOrder | None


@dataclass(frozen=True)
class LabelledScore:
    """A class with its label (empty where there is none) and score."""

    score: Score
    label: str


@dataclass(frozen=True)
class ClassifyAnswer:
    """The strongest classes, best first."""

    provenance: Provenance
    geometry: InputGeometry
    output: str
    classes: tuple[LabelledScore, ...]
    probability: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class CapturedLayer:
    """A tensor of a capture without its values; ``size`` in bytes."""

    name: str
    alias: str
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    size: int


@dataclass(frozen=True)
class CaptureHeader:
    """What holds for a capture."""

    provenance: Provenance
    geometry: InputGeometry
    layers: tuple[CapturedLayer, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class CaptureChunk:
    """A piece of the tensor ``layer`` of the header, from ``offset`` bytes on; little-endian, row-major."""

    layer: int
    index: int
    offset: int
    data: bytes
    last: bool

    @property
    def nbytes(self) -> int:
        """The bytes of the piece."""
        return len(self.data)


@dataclass(frozen=True)
class ProjectHeader:
    """What holds for every projection of a stream."""

    provenance: Provenance
    geometry: InputGeometry
    request: ProjectionRequest
    header: ProjectionHeader
    axes: tuple[Axis, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ProjectedUnit:
    """One projection with what the edge adds to it.

    Attributes:
        projection: what the method gave, colours in the order that the header says.
        layer: the tensor name.
        label: of the class, where the layer is an output.
        signal: the signal, ``None`` where it was not wanted.
        all_zero: the signal is zero everywhere.
        picture_box: ((top, left), (bottom, right)) in the picture, where there is one.
        png: a drawing, empty where none was wanted.
        magnitude: what became black or white in it.
        completed: how many were sent, this one included.
    """

    projection: Projection
    layer: str
    label: str
    signal: Array | None
    all_zero: bool
    picture_box: tuple[tuple[int, int], tuple[int, int]] | None
    png: bytes
    magnitude: float
    completed: int

    @property
    def nbytes(self) -> int:
        """The bytes of the signal and the drawing."""
        return (0 if self.signal is None else self.signal.nbytes) + len(self.png)


@dataclass(frozen=True, eq=False)
class ProjectedUnits:
    """Projections that have become ready together: one message, for a message costs as much as a small projection."""

    units: tuple[ProjectedUnit, ...]

    @property
    def nbytes(self) -> int:
        """The bytes of the signals and the drawings."""
        return sum(unit.nbytes for unit in self.units)


@dataclass(frozen=True, eq=False)
class ModelAnswer:
    """A loaded model described. Of the entry only what was read at load may be used.

    Attributes:
        entry: the model.
        warnings: in sentences.
        parity: how the two runtimes compare, ``None`` as long as that is not known.
    """

    entry: Entry
    warnings: tuple[str, ...]
    parity: Parity | None = None


@dataclass(frozen=True)
class DescribedLayer:
    """A layer with what it takes the engine to know."""

    layer: Layer
    more_aliases: tuple[str, ...]
    dtype: str
    fields: tuple[Field, ...]
    switches: int


@dataclass(frozen=True)
class LayersPage:
    """A page of layers, the token of the next (empty on the last), and what they all are of."""

    layers: tuple[DescribedLayer, ...]
    next_token: str
    total: int
    version: int
