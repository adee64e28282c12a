"""Which units a projection is asked for: channels, positions, and what each signal begins as."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from unpool.engine import Capture, Policy
from unpool.graph import Layer, Value
from unpool.graph.errors import InvalidArgumentError, OutOfRangeError
from unpool.methods.requests import Positions, ProjectionRequest, Start

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Standing: TypeAlias = Callable[[Floats], npt.NDArray[np.float64]]
"""How each channel stands by its strongest value on an image: (C,) -> (C,), higher is stronger."""


@dataclass(frozen=True, eq=False)
class Units:
    """The units of an answer, U of them.

    Attributes:
        channels: (U,).
        positions: (U, plane axes); no columns for maps and for outputs.
        activations: (U,), the layer's own values.
        ranks: (U,), the values by which the strongest are found: before a bounded rectifier's clip.
        starts: (U,), what each signal begins as.
        maps: each is a whole map, not one position of it.
        patterned: a map's signal is the map itself; otherwise it is ``starts`` everywhere.
        images: (U,), which of the images fed at once each belongs to.
        standings: (U,), how each channel stands, where they were ranked so.
    """

    channels: Ints
    positions: Ints
    activations: Floats
    ranks: Floats
    starts: Floats
    maps: bool
    patterned: bool
    images: Ints
    standings: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.channels)


def choose(
    layer: Layer, value: Value, capture: Capture, request: ProjectionRequest, standing: Standing | None
) -> Units:
    """Which units of one image are asked for, in the order asked: channel by channel, position by position.

    Args:
        layer: whose units.
        value: the layer's tensor, with its axes as they are on this input.
        capture: holds ``layer.name`` and ``layer.rank_name``.
        request: says which.
        standing: ranks the channels among which ``top`` are strongest; by their largest value where it is not given.

    Raises:
        InvalidArgumentError: neither channels nor top, or both; no position, or one of the wrong length.
        OutOfRangeError: a channel or position that the layer does not have.
    """
    values = _channels_first(capture.values[layer.name], value)
    ranks = _channels_first(capture.values[layer.rank_name], value)
    if ranks.shape != values.shape:
        ranks = values
    plane = tuple(values.shape[1:])
    strongest = ranks.amax(tuple(range(1, ranks.ndim))) if plane else ranks
    standings = standing(strongest.numpy(force=True)) if standing is not None else None
    asked = _pick_channels(request, strongest.numpy(force=True) if standings is None else standings)
    # Only the planes that are asked for leave the walk's memory layout.
    rows = torch.from_numpy(asked).to(values.device)
    flat_values = values.index_select(0, rows).reshape(len(asked), -1).numpy(force=True)
    flat_ranks = ranks.index_select(0, rows).reshape(len(asked), -1).numpy(force=True)
    best = flat_ranks.argmax(1)
    maps = request.positions is Positions.MAP and bool(plane)
    which, positions = _pick_positions(request.positions, best, plane)
    where = np.ravel_multi_index(tuple(positions.T), plane) if plane and not maps else best[which]
    activations = flat_values[which, where]
    start = start_of(request)
    starts = activations if start is Start.ACTIVATION else np.full_like(activations, 1.0)
    if start is Start.VALUE:
        starts = np.full_like(activations, request.start_value)
    patterned = start is Start.ACTIVATION
    images = np.zeros(len(which), np.int64)
    return Units(
        asked[which],
        positions,
        activations,
        flat_ranks[which, where],
        starts,
        maps,
        patterned,
        images,
        None if standings is None else standings[asked[which]],
    )


def placed(
    layer: Layer,
    value: Value,
    capture: Capture,
    request: ProjectionRequest,
    places: Sequence[tuple[int, tuple[int, ...]]],
) -> Units:
    """One unit of each of several images: channel and position."""
    activations, ranks = (
        np.array(
            [_at(capture.values[name], value, i, channel, position) for i, (channel, position) in enumerate(places)],
            np.float32,
        )
        for name in (layer.name, layer.rank_name)
    )
    patterned = start_of(request) is Start.ACTIVATION
    return Units(
        channels=np.array([channel for channel, _ in places], np.int64),
        positions=np.array([position for _, position in places], np.int64).reshape(len(places), -1),
        activations=activations,
        ranks=ranks,
        starts=activations if patterned else np.full_like(activations, 1.0),
        maps=False,
        patterned=patterned,
        images=np.arange(len(places)),
    )


def start_of(request: ProjectionRequest) -> Start:
    """What the signals begin as, once the default is known."""
    if request.start is not Start.DEFAULT:
        return request.start
    return Start.ACTIVATION if request.policy is Policy.DECONVNET else Start.ONE


def _at(values: torch.Tensor, value: Value, image: int, channel: int, position: tuple[int, ...]) -> float:
    """The value of one unit of one image."""
    rest = iter(position)
    fixed = {value.batch_axis: image, value.channel_axis: channel}
    return float(values[tuple(fixed[i] if i in fixed else next(rest) for i in range(values.ndim))])


def _channels_first(values: torch.Tensor, value: Value) -> torch.Tensor:
    """A layer of one image as (C, *plane axes), C = 1 where it has no channel axis; a view."""
    channel = value.channel_axis
    if value.batch_axis is not None:
        values = values.select(value.batch_axis, 0)
    if channel is None:
        return values.unsqueeze(0)
    return values.movedim(channel - (value.batch_axis is not None and value.batch_axis < channel), 0)


def _pick_channels(request: ProjectionRequest, strongest: Floats | npt.NDArray[np.float64]) -> Ints:
    count = len(strongest)
    if request.channels and request.top:
        raise InvalidArgumentError("top", "either channels or top can be asked for, not both")
    if request.channels:
        for i, channel in enumerate(request.channels):
            if not 0 <= channel < count:
                raise OutOfRangeError(f"channels[{i}]", f"{channel} is outside the layer's channels, 0 to {count - 1}")
        return np.array(request.channels, np.int64)
    if request.top <= 0:
        raise InvalidArgumentError("channels", "name at least one channel, or ask for the strongest with top")
    return np.argsort(-strongest, kind="stable")[: request.top].astype(np.int64)


def _pick_positions(mode: Positions | Sequence[Sequence[int]], best: Ints, plane: tuple[int, ...]) -> tuple[Ints, Ints]:
    """Every (channel, position) asked for: indices among the channels asked for (U,), positions (U, plane axes)."""
    each = np.arange(len(best))
    if not plane or mode is Positions.MAP:
        return each, np.empty((len(best), 0), np.int64)
    if mode is Positions.MAX:
        return each, np.stack(np.unravel_index(best, plane), 1).astype(np.int64)
    if isinstance(mode, Positions):
        places = np.stack(np.unravel_index(np.arange(int(np.prod(plane))), plane), 1)
    else:
        for i, position in enumerate(mode):
            if len(position) != len(plane):
                raise InvalidArgumentError(
                    f"positions[{i}]", f"{tuple(position)} has {len(position)} indices; the plane has {len(plane)} axes"
                )
            if any(not 0 <= p < n for p, n in zip(position, plane, strict=True)):
                raise OutOfRangeError(f"positions[{i}]", f"{tuple(position)} is outside the plane {plane}")
        places = np.array([tuple(p) for p in mode], np.int64)
        if not len(places):
            raise InvalidArgumentError("positions", "name at least one position")
    return np.repeat(each, len(places)), np.tile(places, (len(best), 1)).astype(np.int64)
