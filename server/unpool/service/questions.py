"""What is asked, free of transport: frozen values that the handlers take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from unpool.graph.model import Array
from unpool.methods.requests import ProjectionRequest


@dataclass(frozen=True)
class ModelQuestion:
    """Which model: its name, and its version or ``None`` for the highest that can be served."""

    name: str
    version: int | None = None


@dataclass(frozen=True, eq=False)
class PictureShown:
    """A picture file, encoded."""

    encoded: bytes


@dataclass(frozen=True, eq=False)
class TensorShown:
    """The value of a model's single input, taken as it is."""

    array: Array


@dataclass(frozen=True, eq=False)
class TensorsShown:
    """The values of several inputs in the order given, and which of them is looked at (``None``: there is one)."""

    arrays: Mapping[str, Array]
    of: str | None = None


Shown: TypeAlias = PictureShown | TensorShown | TensorsShown


@dataclass(frozen=True, eq=False)
class ClassifyQuestion:
    """The strongest ``top`` classes of ``output`` (``None``: the model's own), as probabilities if asked."""

    model: ModelQuestion
    shown: Shown
    top: int = 5
    output: str | None = None
    probability: bool = False


@dataclass(frozen=True, eq=False)
class CaptureQuestion:
    """The activations of ``layers``, in pieces of at most ``chunk_bytes``."""

    model: ModelQuestion
    shown: Shown
    layers: tuple[str, ...]
    chunk_bytes: int = 1 << 20


@dataclass(frozen=True)
class Render:
    """How signals become pictures: contrast, magnitude of black and white (``None``: their own), side of a pixel."""

    gain: float = 1.0
    magnitude: float | None = None
    zoom: int = 1


@dataclass(frozen=True, eq=False)
class ProjectQuestion:
    """Projections of one layer, drawn if ``render`` is given, without their signals if ``omit_signal``.

    ``against`` is the data set among whose images the channels stand that are chosen: ``""`` for the only one that was
    scanned, ``None`` to choose by size.
    """

    model: ModelQuestion
    shown: Shown
    request: ProjectionRequest
    render: Render | None = None
    omit_signal: bool = False
    against: str | None = None


@dataclass(frozen=True)
class LayersQuestion:
    """A page of a model's layers, receptive fields counted from the input ``of`` (``None``: the model's own choice)."""

    model: ModelQuestion
    page_size: int = 100
    page_token: str = ""
    of: str | None = None
