"""Projection of units, of whole maps and of class scores down to the pixels (Zeiler & Fergus 2013, section 2.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from unpool.engine import Boxes, Capture, Engine, Feeds, Piece, Policy, Route, Signal
from unpool.graph import Layer, Value
from unpool.graph.errors import InvalidArgumentError, OutOfRangeError, PreconditionError
from unpool.methods.requests import (
    Fallback,
    Positions,
    Projection,
    ProjectionHeader,
    ProjectionRequest,
    Start,
)

_GROWTH = 8
"""How many times as many units each piece has as the one before it: the first unit comes alone, and soon."""
_PIECE = 64
"""Units of the largest pieces: enough to read each weight seldom, few enough that answers come about in order."""
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Standing: TypeAlias = Callable[[Floats], npt.NDArray[np.float64]]
"""How each channel stands by its strongest value on an image: (C,) -> (C,), higher is stronger."""


@dataclass(frozen=True, eq=False)
class _Units:
    """The units of an answer: a channel and a position each (one column per plane axis; none for maps and outputs)."""

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


def project(
    engine: Engine, feeds: Feeds, request: ProjectionRequest, standing: Standing | None = None
) -> Iterator[ProjectionHeader | Projection | None]:
    """Projects units of one layer down to the pixels, or to another tensor.

    Args:
        engine: the model.
        feeds: one image.
        request: what to project, and how.
        standing: ranks the channels among which ``top`` are strongest; by their largest value where it is not given.

    Yields:
        The header, then projections as they are ready; ``None`` between two pieces of work, before the header too, when
        the caller may pause or give up.

    Raises:
        NotFoundError: unknown layer or tensor.
        InvalidArgumentError: inputs that the model does not take; neither channels nor top; a position of the wrong
            length.
        OutOfRangeError: a channel or position that the layer does not have.
        PreconditionError: the layer is not computed from the sink, a node on the way cannot be crossed, or what arrives
            is not finite.
    """
    engine.check(feeds)
    engine = engine.taken(feeds)
    if (images := engine.images(feeds)) != 1:
        raise InvalidArgumentError("tensor", f"a projection takes one image at a time, not {images}")
    layer = engine.model.layers.find(request.layer)
    to = engine.resolve(request.to, feeds.of)
    route = engine.route([layer.name], [to], request.policy)
    taps = (layer.name, layer.rank_name)
    yield from engine.opening(feeds, route, taps)
    capture = engine.captured_for(feeds, route, taps)
    units = _choose(layer, capture.geometry.value(layer.name), capture, request, standing)
    yield _header(engine, layer, to, route, capture, request, units)
    yield from _pieces(engine, layer, to, route, capture, units)


def project_across(
    engine: Engine, feeds: Feeds, request: ProjectionRequest, places: Sequence[tuple[int, tuple[int, ...]]]
) -> Iterator[ProjectionHeader | Projection | None]:
    """Projects one unit of each of several images, fed at once and walked together.

    Args:
        engine: a model that takes batches, or one image.
        feeds: the images.
        request: the layer, the policy and the start; what it says of channels and positions is not read.
        places: the unit of each image: channel and position.

    Yields:
        As ``project``; a projection's index is its image's.

    Raises:
        NotFoundError: unknown layer or tensor.
        PreconditionError: the layer is not computed from the sink, a node on the way cannot be crossed, or what arrives
            is not finite.
    """
    engine = engine.taken(feeds)
    layer = engine.model.layers.find(request.layer)
    to = engine.resolve(request.to, feeds.of)
    route = engine.route([layer.name], [to], request.policy)
    taps = (layer.name, layer.rank_name)
    yield from engine.opening(feeds, route, taps)
    capture = engine.captured_for(feeds, route, taps)
    channels = np.array([channel for channel, _ in places], np.int64)
    positions = np.array([position for _, position in places], np.int64).reshape(len(places), -1)
    images = np.arange(len(places))
    value = engine.model.graph.values[layer.name]
    activations, ranks = (
        np.array(
            [_at(capture.values[name], value, i, channel, position) for i, (channel, position) in enumerate(places)],
            np.float32,
        )
        for name in taps
    )
    start = _start(request)
    starts = activations if start is Start.ACTIVATION else np.full_like(activations, 1.0)
    units = _Units(channels, positions, activations, ranks, starts, False, start is Start.ACTIVATION, images)
    yield _header(engine, layer, to, route, capture, request, units)
    yield from _pieces(engine, layer, to, route, capture, units)


def _at(values: torch.Tensor, value: Value, image: int, channel: int, position: tuple[int, ...]) -> float:
    """The value of one unit of one image."""
    rest = iter(position)
    fixed = {value.batch_axis: image, value.channel_axis: channel}
    return float(values[tuple(fixed[i] if i in fixed else next(rest) for i in range(values.ndim))])


def _header(
    engine: Engine, layer: Layer, to: str, route: Route, capture: Capture, request: ProjectionRequest, units: _Units
) -> ProjectionHeader:
    geometry = capture.geometry
    sink = geometry.value(to)
    warnings = []
    if request.policy is Policy.DECONVNET and not (route.switches or route.masks or route.values):
        warnings.append(
            "no max pool lies on the way: without switches a unit's deconvnet picture is the same for every input"
        )
    cut = 0 if units.maps else int((units.ranks > units.activations).sum())
    if request.policy is not Policy.DECONVNET and cut:
        warnings.append(
            f"{cut} of {len(units)} units stand at the upper bound of their rectifier, where its derivative is 0: the "
            f"{request.policy.value} pictures are blank there; look at '{layer.rank_name}', or use the deconvnet policy"
        )
    channel = sink.channel_axis
    return ProjectionHeader(
        layer=layer.name,
        alias=layer.alias,
        shape=geometry.shapes[layer.name],
        policy=request.policy,
        start=_start(request),
        to=to,
        plane=tuple(geometry.plane(to).values()),
        sink_channels=1 if channel is None else geometry.shapes[to][channel],
        total=len(units),
        fallbacks=tuple(Fallback(n.name, n.op_type) for n in route.fallbacks),
        switches=len(route.switches),
        warnings=tuple(warnings),
    )


def _start(request: ProjectionRequest) -> Start:
    if request.start is not Start.DEFAULT:
        return request.start
    return Start.ACTIVATION if request.policy is Policy.DECONVNET else Start.ONE


def _channels_first(values: torch.Tensor, value: Value) -> torch.Tensor:
    """A layer of one image as (C, *plane axes), C = 1 where it has no channel axis; a view."""
    channel = value.channel_axis
    if value.batch_axis is not None:
        values = values.select(value.batch_axis, 0)
    if channel is None:
        return values.unsqueeze(0)
    return values.movedim(channel - (value.batch_axis is not None and value.batch_axis < channel), 0)


def _choose(
    layer: Layer, value: Value, capture: Capture, request: ProjectionRequest, standing: Standing | None
) -> _Units:
    """Which units are asked for, in the order asked: channel by channel, position by position."""
    values = _channels_first(capture.values[layer.name], value)
    ranks = _channels_first(capture.values[layer.rank_name], value)
    if ranks.shape != values.shape:
        ranks = values
    plane = tuple(values.shape[1:])
    if 0 in values.shape:
        extents = capture.geometry.shapes[layer.name]
        raise PreconditionError(
            f"'{layer.name}' is empty for this input, of extents {extents}: there is no unit to project; ask for a"
            " layer in front of what selects"
        )
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
    start = _start(request)
    starts = activations if start is Start.ACTIVATION else np.full_like(activations, 1.0)
    if start is Start.VALUE:
        starts = np.full_like(activations, request.start_value)
    patterned = start is Start.ACTIVATION
    images = np.zeros(len(which), np.int64)
    return _Units(
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


def _pieces(
    engine: Engine, layer: Layer, to: str, route: Route, capture: Capture, units: _Units
) -> Iterator[Projection | None]:
    """Walks the units in pieces that grow, so that the first result comes soon, up to a size that bounds their time."""
    done, size = 0, 1
    limit = _most_units(engine, layer, capture, units)
    while done < len(units):
        chosen = np.arange(done, min(done + size, len(units)))
        seed = _seed(layer, capture, units, chosen)
        seen = capture.geometry.seen(layer.name, seed.boxes, to)
        for piece in engine.walk(route, capture, {layer.name: seed}, units.images[chosen]):
            if piece is None:
                yield None
                continue
            yield from _results(to, layer, capture, units, chosen, seen, piece)
            yield None  # nothing more is ready
        done += len(chosen)
        size = min(_GROWTH * size, limit)
        yield None


def _most_units(engine: Engine, layer: Layer, capture: Capture, units: _Units) -> int:
    """How many units a piece may begin with; the walk parts them where their signals grow too large."""
    if capture.geometry.value(layer.name).batch_axis is None:
        return 1  # no axis for units to stand along
    one = _seed(layer, capture, units, np.zeros(1, np.int64)).value.nbytes
    return max(1, min(_PIECE, engine.settings.piece_bytes // one))


def _seed(layer: Layer, capture: Capture, units: _Units, chosen: Ints) -> Signal:
    """The signal that the chosen units begin with: everything else of the layer is zero."""
    geometry = capture.geometry
    value = geometry.value(layer.name)
    plane = geometry.plane(layer.name)
    whole = capture.values[layer.name]
    boxes = Boxes.whole(plane, len(chosen))
    axes = [i for i in range(whole.ndim) if i not in (value.batch_axis, value.channel_axis)]
    if not units.maps:
        spatial = value.spatial_axes
        boxes = Boxes(
            {s: units.positions[chosen, axes.index(p)] for s, p in spatial.items()},
            dict.fromkeys(plane, 1),
            len(chosen),
        )
    shape = list(whole.shape)
    if value.batch_axis is not None:
        shape[value.batch_axis] = len(chosen)
    for s, position in value.spatial_axes.items():
        shape[position] = boxes.sizes[s]
    signal = whole.new_zeros(shape)
    for row, unit in enumerate(chosen):
        index: list[int | slice] = [slice(None)] * whole.ndim
        if value.channel_axis is not None:
            index[value.channel_axis] = int(units.channels[unit])
        source = list(index)
        if value.batch_axis is not None:
            index[value.batch_axis], source[value.batch_axis] = row, 0
        if units.maps:
            map_ = whole[tuple(source)]
            # Only a start at the activation keeps the map's own pattern; any other is the same everywhere.
            signal[tuple(index)] = map_ if units.patterned else torch.full_like(map_, float(units.starts[unit]))
            continue
        for column, axis in enumerate(axes):
            index[axis] = 0 if axis in value.spatial_axes.values() else int(units.positions[unit, column])
        signal[tuple(index)] = float(units.starts[unit])
    return Signal(signal, boxes)


def _results(
    to: str, layer: Layer, capture: Capture, units: _Units, chosen: Ints, seen: Boxes | None, piece: Piece
) -> Iterator[Projection]:
    """Cuts each unit's signal to its receptive field inside the plane, channels first."""
    geometry = capture.geometry
    value, plane = geometry.value(to), geometry.plane(to)
    signal = piece.signals.get(to)
    for row, local in enumerate(piece.units):
        unit = int(chosen[local])
        lower, upper = [], []
        for s, extent in plane.items():
            low, high = 0, extent
            if seen is not None:
                origin = int(seen.origins[s][local])
                low = min(max(origin, 0), extent)
                high = min(max(origin + seen.sizes[s], low), extent)
            lower.append(low)
            upper.append(high)
        box = dict(zip(plane, zip(lower, upper, strict=True), strict=True))
        found = _cropped(signal, value, geometry.shapes[to], row, box)
        if not np.isfinite(found.sum(dtype=np.float64)):
            at = f" at {tuple(int(p) for p in units.positions[unit])}" if units.positions.size else ""
            raise PreconditionError(
                f"the projection of channel {units.channels[unit]} of '{layer.name}'{at} is not finite: on this input a"
                f" derivative on the way to '{to}' is infinite or too large for float32"
            )
        yield Projection(
            index=unit,
            channel=int(units.channels[unit]),
            position=tuple(int(p) for p in units.positions[unit]),
            activation=float(units.activations[unit]),
            rank_value=float(units.ranks[unit]),
            start=float(units.starts[unit]),
            start_not_positive=bool(units.starts[unit] <= 0),
            lower=tuple(lower),
            upper=tuple(upper),
            signal=found,
            standing=None if units.standings is None else float(units.standings[unit]),
        )


def _cropped(
    signal: Signal | None, value: Value, shape: tuple[int, ...], row: int, box: dict[int, tuple[int, int]]
) -> Floats:
    """One unit's signal on a box inside the plane: float32 (C, *box); zeros where no signal came."""
    extents = list(shape)
    for s, position in value.spatial_axes.items():
        extents[position] = box[s][1] - box[s][0]
    if value.batch_axis is not None:
        extents[value.batch_axis] = 1
    result = torch.zeros(extents)
    if signal is not None:
        source = signal.value
        if value.batch_axis is not None:
            source = source.narrow(value.batch_axis, row, 1)
        target = result
        for s, position in value.spatial_axes.items():
            origin, size = int(signal.boxes.origins[s][row]), signal.boxes.sizes[s]
            low, high = max(box[s][0], origin), min(box[s][1], origin + size)
            if high <= low:
                source = source.narrow(position, 0, 0)
                target = target.narrow(position, 0, 0)
                continue
            source = source.narrow(position, low - origin, high - low)
            target = target.narrow(position, low - box[s][0], high - low)
        target.copy_(source)
    order = list(range(result.ndim))
    for place, position in zip(sorted(value.spatial_axes.values()), value.spatial_axes.values(), strict=True):
        order[place] = position  # a model that turns its input's plane around names the axes as its layers do
    result = result.permute(order)
    if value.batch_axis is not None:
        result = result.squeeze(value.batch_axis)
    channel = value.channel_axis
    if channel is None:
        return result.unsqueeze(0).contiguous().numpy()
    moved = channel - (value.batch_axis is not None and value.batch_axis < channel)
    return result.movedim(moved, 0).contiguous().numpy()
