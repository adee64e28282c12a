"""Positions of the survivors: a second run of the images that are some channel's strongest, and of those alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unpool.engine import Boxes
from unpool.engine.geometry import Geometry
from unpool.exemplars.dataset import DataSet
from unpool.exemplars.examples import Example, examples
from unpool.exemplars.partial import NOBODY, Partial
from unpool.exemplars.results import Box, Exemplar
from unpool.graph import Layer
from unpool.graph.errors import PreconditionError
from unpool.graph.model import Array, Value
from unpool.repository import Entry, Placement

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Found:
    """One place of one image, before places are ranked."""

    channel: int
    image: int
    key: str
    label: str
    position: tuple[int, ...]
    rank_value: float
    activation: float
    geometry: Geometry
    placement: Placement | None


@dataclass(frozen=True)
class Located:
    """How far locating is: images done, of how many; the exemplars with the last."""

    done: int
    total: int
    exemplars: tuple[Exemplar, ...] = ()


def locate(
    entry: Entry, dataset: DataSet, layers: tuple[Layer, ...], part: Partial, places: int, workers: int
) -> Iterator[Located | None]:
    """Finds where in their images the strongest of each channel lie.

    Args:
        entry: the model.
        dataset: the data set.
        layers: the scanned layers, in the order of the summary's channels.
        part: the summary of the whole data set.
        places: the most positions of one image among a channel's exemplars.
        workers: threads that decode.

    Yields:
        Where it stands after each image; ``None`` never.

    Raises:
        PreconditionError: an image is gone since it was scanned.
    """
    begins = np.cumsum([0, *(layer.channels or 0 for layer in layers)])
    owners, columns = np.nonzero(part.images != NOBODY)
    images = part.images[owners, columns]
    survivors: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for owner, column, image in zip(owners.tolist(), columns.tolist(), images.tolist(), strict=True):
        survivors[image].append((owner, float(part.values[owner, column])))
    found: dict[int, list[_Found]] = defaultdict(list)
    wanted = sorted(survivors)
    names = list(dict.fromkeys(name for layer in layers for name in (layer.name, layer.rank_name)))
    for done, example in enumerate(examples(entry, dataset, wanted, workers), 1):
        if not isinstance(example, Example):
            raise PreconditionError(
                f"'{example.key}' cannot be read any more: {example.reason}; the data set has changed"
            )
        values = entry.engine.run(example.feeds, names)
        geometry = entry.engine.geometry(example.feeds)
        owned, recorded = (np.array(column) for column in zip(*survivors[example.index], strict=True))
        numbers = np.searchsorted(begins, owned, "right") - 1
        for number in np.unique(numbers).tolist():
            chosen = numbers == number
            channels = owned[chosen] - begins[number]
            for place in _strongest(layers[number], channels, recorded[chosen], values, geometry, example, places):
                found[int(begins[number]) + place.channel].append(place)
        if done < len(wanted):
            yield Located(done, len(wanted))
    yield Located(len(wanted), len(wanted), tuple(_exemplars(layers, begins.tolist(), found, part.k)))


def _strongest(
    layer: Layer,
    channels: Ints,
    recorded: npt.NDArray[np.float64],
    values: dict[str, Array],
    geometry: Geometry,
    example: Example,
    places: int,
) -> Iterator[_Found]:
    """The strongest places of some channels; with one place each the value is the scan's, so that its order holds."""
    plane = _planes(values[layer.name], geometry.value(layer.name), channels)
    ranks = _planes(values[layer.rank_name], geometry.value(layer.rank_name), channels)
    flat, own = ranks.reshape(len(channels), -1), plane.reshape(len(channels), -1)
    order = flat.argmax(1)[:, None] if places == 1 else np.argsort(-flat, axis=1, kind="stable")[:, :places]
    for row, channel in enumerate(channels.tolist()):
        for where in order[row].tolist():
            if places > 1 and not flat[row, where] > 0:
                break
            yield _Found(
                channel,
                example.index,
                example.key,
                example.label,
                tuple(int(i) for i in np.unravel_index(where, ranks.shape[1:])),
                float(recorded[row]) if places == 1 else float(flat[row, where]),
                float(own[row, where]),
                geometry,
                example.placement,
            )


def _planes(values: Array, value: Value, channels: Ints) -> npt.NDArray[np.float32]:
    """Some channels of one image, first; its other axes in their order."""
    assert value.channel_axis is not None
    axis = value.channel_axis
    if value.batch_axis is not None:
        values = values[(slice(None),) * value.batch_axis + (0,)]
        axis -= value.batch_axis < axis
    return np.asarray(np.moveaxis(values, axis, 0)[channels], np.float32)


def _exemplars(
    layers: tuple[Layer, ...], begins: list[int], found: dict[int, list[_Found]], k: int
) -> Iterator[Exemplar]:
    for number, layer in enumerate(layers):
        owners = range(begins[number], begins[number + 1])
        ranked = [
            (place, one) for owner in owners for place, one in enumerate(sorted(found.get(owner, ()), key=_rank)[:k])
        ]
        boxes = _boxes(layer, [one for _, one in ranked])
        for (place, one), (box, plane, cut) in zip(ranked, boxes, strict=True):
            picture = None
            if one.placement is not None and len(box[0]) == 2:
                picture = one.placement.picture_box(*box)
            yield Exemplar(
                layer.name,
                one.channel,
                place,
                one.image,
                one.key,
                one.label,
                one.position,
                one.rank_value,
                one.activation,
                box,
                plane,
                cut,
                picture,
            )


def _rank(found: _Found) -> tuple[float, int, tuple[int, ...]]:
    return -found.rank_value, found.image, found.position


def _boxes(layer: Layer, found: list[_Found]) -> list[tuple[Box, tuple[int, ...], bool]]:
    """The receptive field of each place in the input: the box inside the plane, the plane, and whether it is cut."""
    answers: list[tuple[Box, tuple[int, ...], bool]] = [(((), ()), (), False)] * len(found)
    groups: dict[int, list[int]] = defaultdict(list)
    for i, one in enumerate(found):
        groups[id(one.geometry)].append(i)
    for members in groups.values():
        geometry = found[members[0]].geometry
        boxes = unit_boxes(geometry, layer.name, [found[i].position for i in members])
        source = geometry.graph.inputs[0]
        plane, seen = geometry.plane(source), geometry.seen(layer.name, boxes, source)
        extents = tuple(plane.values())
        for row, i in enumerate(members):
            if seen is None:
                answers[i] = (((0,) * len(extents), extents), extents, False)
                continue
            low = [int(seen.origins[s][row]) for s in plane]
            high = [lo + seen.sizes[s] for lo, s in zip(low, plane, strict=True)]
            lower = tuple(min(max(lo, 0), n) for lo, n in zip(low, extents, strict=True))
            upper = tuple(min(max(hi, lo), n) for hi, lo, n in zip(high, lower, extents, strict=True))
            whole = all(lo <= 0 and hi >= n for lo, hi, n in zip(low, high, extents, strict=True))
            answers[i] = ((lower, upper), extents, (tuple(low), tuple(high)) != (lower, upper) and not whole)
    return answers


def unit_boxes(geometry: Geometry, layer: str, positions: list[tuple[int, ...]]) -> Boxes:
    """The boxes of single units of a layer."""
    value, plane = geometry.value(layer), geometry.plane(layer)
    axes = [i for i in range(len(value.axes)) if i not in (value.batch_axis, value.channel_axis)]
    places = np.array(positions, np.int64).reshape(len(positions), len(axes))
    origins = {s: places[:, axes.index(p)].copy() for s, p in value.spatial_axes.items()}
    return Boxes(origins, dict.fromkeys(plane, 1), len(positions))
