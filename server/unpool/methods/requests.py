"""Requests and results of the methods: frozen, transport free."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unpool.engine.policies import Policy


class Positions(enum.Enum):
    """Which places of a channel's plane are projected."""

    MAX = "max"
    """The strongest, by the value before a bounded rectifier's clip; ties to the first in row-major order."""
    ALL = "all"
    """Every one, each by itself."""
    MAP = "map"
    """The whole map at once, one projection per channel."""


class Start(enum.Enum):
    """What the signal begins as."""

    DEFAULT = "default"
    """The activation for deconvnet, 1 for guided and gradient."""
    ACTIVATION = "activation"
    ONE = "one"
    VALUE = "value"


@dataclass(frozen=True)
class ProjectionRequest:
    """A question for projections of one layer.

    Attributes:
        layer: tensor name, node name or alias.
        channels: channels (class indices where the layer is an output); empty asks for ``top``.
        top: the K strongest channels of the layer on this input; used where ``channels`` is empty.
        positions: a mode, or explicit positions, each one index per spatial axis.
        policy: the backward rules.
        start: what the signal begins as; ``start_value`` goes with ``Start.VALUE``.
        to: tensor where the signal ends; ``None`` is the input that is looked at.
    """

    layer: str
    channels: tuple[int, ...] = ()
    top: int = 0
    positions: Positions | tuple[tuple[int, ...], ...] = Positions.MAX
    policy: Policy = Policy.DECONVNET
    start: Start = Start.DEFAULT
    start_value: float = 1.0
    to: str | None = None

    @property
    def named(self) -> tuple[str, ...]:
        """The layers and tensors that are asked for, as they are called."""
        return (self.layer,) if self.to is None else (self.layer, self.to)


@dataclass(frozen=True)
class Fallback:
    """A node that a policy crossed by the vector-Jacobian product."""

    node: str
    op_type: str


@dataclass(frozen=True)
class ProjectionHeader:
    """What holds for every projection of one answer.

    Attributes:
        layer: the tensor name; ``alias`` the short one, empty where there is none.
        shape: the layer's extents for this input.
        policy, start, to: as used.
        plane: the sink's extent along each spatial axis (empty where it has no plane).
        sink_channels: the sink's channels.
        total: how many projections follow.
        fallbacks: nodes crossed by the vector-Jacobian product.
        switches: max-pool nodes crossed; with 0 and no fallbacks a deconvnet picture does not depend on the input's
            pattern.
        warnings: in sentences.
    """

    layer: str
    alias: str
    shape: tuple[int, ...]
    policy: Policy
    start: Start
    to: str
    plane: tuple[int, ...]
    sink_channels: int
    total: int
    fallbacks: tuple[Fallback, ...]
    switches: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Projection:
    """One reconstructed signal.

    Attributes:
        index: its place among the answer's projections, counted from 0 in the order asked (pieces may come in another
            order).
        channel: the channel, or the class index.
        position: one index per axis that is neither batch nor channel; empty for an output, a channel without a plane,
            or a whole map.
        activation: the layer's own value there (of a map: its maximum).
        rank_value: the value before a bounded rectifier's clip; equals ``activation`` elsewhere.
        start: the value that the signal began with (of a map: its maximum).
        start_not_positive: the start is zero or negative, so that a deconvnet picture is blank or turned over.
        lower, upper: the box in the sink's plane, one entry per spatial axis, half open, inside the plane.
        signal: float32 (C, *box), channels first whatever the model's layout.
        standing: by which the channel was chosen, where channels were not ranked by their size.
    """

    index: int
    channel: int
    position: tuple[int, ...]
    activation: float
    rank_value: float
    start: float
    start_not_positive: bool
    lower: tuple[int, ...]
    upper: tuple[int, ...]
    signal: npt.NDArray[np.float32]
    standing: float | None = None


@dataclass(frozen=True, eq=False)
class Activation:
    """One captured tensor: ``name`` in the file, ``alias``, and its values in the model's own layout."""

    name: str
    alias: str
    values: npt.NDArray[np.generic]


@dataclass(frozen=True)
class Score:
    """One class of an answer: its index, label (empty where there is none) and score."""

    index: int
    score: float
