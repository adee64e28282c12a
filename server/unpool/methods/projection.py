"""Projection of units, of whole maps and of class scores down to the pixels (Zeiler & Fergus 2013, section 2.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from unpool.engine import Boxes, Capture, Engine, Feeds, Piece, Policy, Route, Signal
from unpool.graph import Layer, Value
from unpool.graph.errors import InvalidArgumentError, PreconditionError
from unpool.methods.requests import Fallback, Projection, ProjectionHeader, ProjectionRequest
from unpool.methods.units import Floats, Ints, Standing, Units, choose, placed, start_of

_GROWTH = 8
"""How many times as many units each piece has as the one before it: the first unit comes alone, and soon."""
_PIECE = 64
"""Units of the largest pieces: enough to read each weight seldom, few enough that answers come about in order."""


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
    engine = engine.taken(feeds, asked=request.named)
    if (images := engine.images(feeds)) != 1:
        raise InvalidArgumentError("tensor", f"a projection takes one image at a time, not {images}")
    layer = engine.model.layers.find(request.layer)
    _refuse_empty(layer, engine.geometry(feeds).shapes[layer.name])
    to = engine.resolve(request.to, feeds.of)
    route = engine.route([layer.name], [to], request.policy)
    taps = (layer.name, layer.rank_name)
    yield from engine.opening(feeds, route, taps)
    capture = engine.captured_for(feeds, route, taps)
    units = choose(layer, capture.geometry.value(layer.name), capture, request, standing)
    yield _header(engine, layer, to, route, capture, request, units)
    yield from _pieces(engine, layer, to, route, capture, units)


def _refuse_empty(layer: Layer, shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise PreconditionError(
            f"'{layer.name}' is empty for this input, of extents {shape}: there is no unit to project; ask for a layer"
            " in front of what selects"
        )


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
    engine = engine.taken(feeds, asked=request.named)
    layer = engine.model.layers.find(request.layer)
    to = engine.resolve(request.to, feeds.of)
    route = engine.route([layer.name], [to], request.policy)
    taps = (layer.name, layer.rank_name)
    yield from engine.opening(feeds, route, taps)
    capture = engine.captured_for(feeds, route, taps)
    units = placed(layer, engine.model.graph.values[layer.name], capture, request, places)
    yield _header(engine, layer, to, route, capture, request, units)
    yield from _pieces(engine, layer, to, route, capture, units)


def _header(
    engine: Engine, layer: Layer, to: str, route: Route, capture: Capture, request: ProjectionRequest, units: Units
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
        start=start_of(request),
        to=to,
        plane=tuple(geometry.plane(to).values()),
        sink_channels=1 if channel is None else geometry.shapes[to][channel],
        total=len(units),
        fallbacks=tuple(Fallback(n.name, n.op_type) for n in route.fallbacks),
        switches=len(route.switches),
        warnings=tuple(warnings),
    )


def _pieces(
    engine: Engine, layer: Layer, to: str, route: Route, capture: Capture, units: Units
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


def _most_units(engine: Engine, layer: Layer, capture: Capture, units: Units) -> int:
    """How many units a piece may begin with; the walk parts them where their signals grow too large."""
    if capture.geometry.value(layer.name).batch_axis is None:
        return 1  # no axis for units to stand along
    one = _seed(layer, capture, units, np.zeros(1, np.int64)).value.nbytes
    return max(1, min(_PIECE, engine.settings.piece_bytes // one))


def _seed(layer: Layer, capture: Capture, units: Units, chosen: Ints) -> Signal:
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
    to: str, layer: Layer, capture: Capture, units: Units, chosen: Ints, seen: Boxes | None, piece: Piece
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
