"""What comes back: activations, class scores and projections, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from unpool.client.listing import Preprocessing
from unpool.pictures import png_bytes, render_signal

CONTRAST = 3.0
"""Gain that pictures of signals are drawn with unless told otherwise: raised, as in the papers' figures."""


@dataclass(frozen=True)
class Provenance:
    """How a result was made, so that it can be made again.

    Attributes:
        model, version: which model answered.
        digest, input_digest: SHA-256 of the model file and of the input tensors, hexadecimal.
        preprocessing: how the picture became the input; ``None`` when tensors were given.
        provider, device: where it ran forward and backward.
        software: program -> version.
    """

    model: str
    version: int
    digest: str
    input_digest: str
    preprocessing: Preprocessing | None
    provider: str
    device: str
    software: Mapping[str, str]


@dataclass(frozen=True)
class Geometry:
    """The plane that boxes are counted in, and where it lies in the picture.

    Attributes:
        input: name of the looked-at input.
        plane: its extent along each spatial axis, (height, width) for pictures.
        picture: (height, width) of the upright picture; empty without one.
        scale, offset: edge x of a box lies at ``scale[i] * x + offset[i]`` in the picture; empty without one.
        channel_order: ``rgb`` or ``gray`` for pictures, whatever the model's own order; empty for tensors.
    """

    input: str
    plane: tuple[int, ...]
    picture: tuple[int, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    channel_order: str


@dataclass(frozen=True)
class ClassScore:
    """One class of an output: its index, its label (empty where there is none) and its score."""

    index: int
    label: str
    score: float


@dataclass(frozen=True)
class Classification:
    """The strongest classes of an output, strongest first.

    Attributes:
        output: name of the output.
        classes: the classes.
        probability: whether the scores are probabilities.
        provenance, geometry: how it was made.
        warnings: what a user should know, in sentences.
    """

    output: str
    classes: tuple[ClassScore, ...]
    probability: bool
    provenance: Provenance
    geometry: Geometry
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class CaptureHeader:
    """What holds for all activations of one answer; ``layers`` are the tensor names that follow, in order."""

    provenance: Provenance
    geometry: Geometry
    layers: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Activation:
    """One captured tensor.

    Attributes:
        name: the file's own tensor name; ``alias`` its short one, empty when it has none.
        roles: what each axis stands for: ``batch``, ``channel``, ``spatial`` or ``other``.
        values: in the model's own layout, the batch axis (of extent 1) included; bfloat16 comes as float32.
    """

    name: str
    alias: str
    roles: tuple[str, ...]
    values: npt.NDArray[np.generic]


@dataclass(frozen=True)
class ProjectionHeader:
    """What holds for all projections of one answer.

    Attributes:
        provenance, geometry: how they are made, and where.
        layer, alias: the layer's tensor name, and its short name (empty when it has none).
        shape, roles: extent and meaning of the layer's axes on this input.
        policy, start, start_value, positions: the settings in use, as the request words them.
        to: tensor that the projections end at; ``to_plane`` and ``to_channels`` its plane and channels.
        total: how many projections follow.
        fallbacks: (node, operator type) of nodes that took the vector-Jacobian product for want of a rule.
        switches: max pools that the signal crosses. With 0 a deconvnet picture hardly depends on the photograph.
        warnings: what a user should know before trusting the pictures, in sentences.
    """

    provenance: Provenance
    geometry: Geometry
    layer: str
    alias: str
    shape: tuple[int, ...]
    roles: tuple[str, ...]
    policy: str
    start: str
    start_value: float
    positions: str
    to: str
    to_plane: tuple[int, ...]
    to_channels: int
    total: int
    fallbacks: tuple[tuple[str, str], ...]
    switches: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Projection:
    """What one unit, or one feature map, sees: the signal that came out at the input.

    Attributes:
        header: what holds for all projections of the answer.
        index: its place among those asked for, from 0; they come as they are ready, which may be another order.
        layer: the layer's tensor name.
        channel: the channel; for an output, the class index, and ``label`` its label (empty otherwise).
        position: one index per spatial axis of the layer, (row, column) for pictures; empty without a plane, and for a
            whole map.
        activation: the layer's own value at the unit; of a whole map, the maximum.
        rank_value: the value that units are ranked by: the activation before a bounded rectifier cut it off.
        start_value: what the signal started with; ``start_not_positive`` warns of a blank or turned-over picture.
        all_zero: every value of the signal is 0.
        box: where the signal lies in the plane of ``to``: lower corner, then upper, (top, left, bottom, right) for
            pictures, half-open, clipped to the plane. Empty when ``to`` has no plane.
        picture_box: the same in pixels of the upright source picture, rounded outward; ``None`` without a picture.
        signal: float32 (C, *box extents), channels first, RGB for pictures; 0 elements when signals were left out.
        png: the server's rendering; empty unless asked for. ``png_magnitude`` is its scale.
        completed: how many projections the server had sent with this one.
        standing: with ``against``, the share of the data set's images on which the channel's maximum is lower than here
            (above all of them: as many times 1 as it is larger); ``None`` otherwise.
    """

    header: ProjectionHeader = field(repr=False)
    index: int
    layer: str
    channel: int
    label: str
    position: tuple[int, ...]
    activation: float
    rank_value: float
    start_value: float
    start_not_positive: bool
    all_zero: bool
    box: tuple[int, ...]
    picture_box: tuple[int, ...] | None
    signal: npt.NDArray[np.float32] = field(repr=False)
    png: bytes = field(repr=False)
    png_magnitude: float
    completed: int
    standing: float | None = None

    @property
    def name(self) -> str:
        """The layer's alias, or its tensor name where there is none."""
        return self.header.alias or self.layer

    def full(self) -> npt.NDArray[np.float32]:
        """The signal in its place: float32 (C, *plane), 0 outside the box; the signal itself where there is no plane.

        Raises:
            ValueError: the request left signals out.
        """
        self._need_signal()
        if not self.box:
            return self.signal.copy()
        rank = len(self.header.to_plane)
        whole = np.zeros((self.signal.shape[0], *self.header.to_plane), dtype=np.float32)
        window = tuple(slice(self.box[axis], self.box[rank + axis]) for axis in range(rank))
        whole[(slice(None), *window)] = self.signal
        return whole

    def image(
        self, *, contrast: float = CONTRAST, magnitude: float | None = None, zoom: int = 1, whole: bool = False
    ) -> Image.Image:
        """Draws the signal: zero is mid grey, one scale for all colours.

        Args:
            contrast: gain before black and white.
            magnitude: what becomes black or white at gain 1; ``None`` is the signal's own largest magnitude.
            zoom: side of the square of pixels that one element becomes, 1 to 16.
            whole: draw the whole plane, not the box alone.

        Raises:
            ValueError: the request left signals out, or a value is out of range.
        """
        self._need_signal()
        values = self.full() if whole else self.signal
        return render_signal(values, gain=contrast, magnitude=magnitude, zoom=zoom).image

    def _repr_png_(self) -> bytes | None:
        if self.signal.size == 0:
            return self.png or None
        longest = max(self.signal.shape[1:], default=1)
        return png_bytes(self.image(zoom=max(1, min(16, 224 // longest))))

    def _need_signal(self) -> None:
        if self.signal.size == 0:
            raise ValueError("the request left signals out (signals=False): only .png and the boxes are here")
