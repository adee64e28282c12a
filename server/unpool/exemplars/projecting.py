"""Projections of exemplars: units of several images walked together, on the receptive fields that they see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unpool.engine import Feeds
from unpool.exemplars.cropping import Crop, Cropped, crop_of
from unpool.exemplars.dataset import DataSet
from unpool.exemplars.examples import Example, prepare
from unpool.exemplars.results import Exemplar
from unpool.graph import BatchSupport
from unpool.graph.errors import PreconditionError, UnpoolError
from unpool.graph.model import Array
from unpool.methods.projection import project_across
from unpool.methods.requests import Projection, ProjectionHeader, ProjectionRequest
from unpool.repository import Entry

_TOGETHER = 16
"""Exemplars that are walked together at most; each brings an image of its own into memory."""
_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Projected:
    """An exemplar, its example, and the projection of its unit; ``index`` counts the exemplars of the question."""

    index: int
    exemplar: Exemplar
    example: Example
    projection: Projection


def fetch(entry: Entry, dataset: DataSet, images: Sequence[int]) -> dict[int, Example]:
    """The examples of some images, by number.

    Raises:
        PreconditionError: one cannot be read any more.
    """
    found = {}
    for record in dataset.read(sorted(set(images))):
        example = prepare(entry, record)
        if not isinstance(example, Example):
            raise PreconditionError(f"'{example.key}' cannot be read any more: {example.reason}")
        found[example.index] = example
    return found


def project_exemplars(
    entry: Entry,
    dataset: DataSet,
    exemplars: Sequence[Exemplar],
    request: ProjectionRequest,
    cropped: Cropped | None = None,
) -> Iterator[ProjectionHeader | Projected | None]:
    """Projects the units of exemplars of one layer down to the input.

    Args:
        entry: the model.
        dataset: the data set that they are from.
        exemplars: what to project.
        request: the layer, the policy and the start; what it says of channels and positions is not read.
        cropped: a memory of networks cut down to a layer, which are fed only with what a unit sees; without it, and
            where a network cannot be cut so, whole images are run.

    Yields:
        A header, then each exemplar as it is ready; ``None`` between two pieces of work.

    Raises:
        PreconditionError: an image is gone, or a node on the way cannot be crossed.
    """
    header: ProjectionHeader | None = None
    for begin in range(0, len(exemplars), _TOGETHER):
        some = exemplars[begin : begin + _TOGETHER]
        sources = fetch(entry, dataset, [e.image for e in some])
        groups: dict[object, list[tuple[int, Crop | None]]] = defaultdict(list)
        for i, exemplar in enumerate(some):
            crop = crop_of(entry.engine, sources[exemplar.image].feeds, exemplar) if cropped is not None else None
            shape = sources[exemplar.image].feeds.arrays[entry.engine.model.graph.inputs[0]].shape
            groups[crop.extents if crop is not None else shape].append((i, crop))
        yield None
        for members in _split(entry, groups, sources, some):
            for item in _together(
                entry, [some[i] for i, _ in members], [c for _, c in members], sources, request, cropped
            ):
                if item is None:
                    yield None
                elif isinstance(item, ProjectionHeader):
                    if header is None:
                        header = replace(item, total=len(exemplars))
                        yield header
                else:
                    i = members[item.index][0]
                    found = replace(item, index=begin + i)
                    yield Projected(begin + i, some[i], sources[some[i].image], found)


def _split(
    entry: Entry,
    groups: dict[object, list[tuple[int, Crop | None]]],
    sources: dict[int, Example],
    exemplars: Sequence[Exemplar],
) -> Iterator[list[tuple[int, Crop | None]]]:
    """Exemplars that can be fed at once: of one shape, where the model takes batches."""
    batches = entry.engine.model.graph.batch is BatchSupport.SYMBOLIC
    for members in groups.values():
        if batches and entry.engine.proven_batch(sources[exemplars[members[0][0]].image].feeds):
            yield members
        else:
            yield from ([member] for member in members)


def _together(
    entry: Entry,
    exemplars: Sequence[Exemplar],
    crops: Sequence[Crop | None],
    sources: dict[int, Example],
    request: ProjectionRequest,
    cropped: Cropped | None,
) -> Iterator[ProjectionHeader | Projection | None]:
    engine = entry.engine
    inputs = [sources[e.image].feeds for e in exemplars]
    places = [(e.channel, e.position) for e in exemplars]
    first = crops[0]
    if first is not None and cropped is not None:
        small = cropped.engine(engine, exemplars[0].layer)
        shown = [crop for crop in crops if crop is not None]
        held: list[ProjectionHeader | Projection] = []
        pieces = [crop.of(engine.model.graph, feeds) for crop, feeds in zip(shown, inputs, strict=True)]
        at = [(e.channel, crop.position) for e, crop in zip(exemplars, shown, strict=True)]
        if small is not None:
            try:
                for item in project_across(small, _batch(engine.model.graph.inputs[0], pieces, entry), request, at):
                    if item is None:
                        yield None
                    else:
                        held.append(item)
            except UnpoolError:  # a network that does not take planes of this size
                held = []
            # What a unit says of the crop is what it said of the image, or the crop was not what it sees.
            units = [item for item in held if isinstance(item, Projection)]
            if units and all(_agrees(unit, exemplars[unit.index]) for unit in units):
                plane = exemplars[0].plane
                for item in held:
                    if isinstance(item, ProjectionHeader):
                        shape = engine.geometry(inputs[0]).shapes[exemplars[0].layer]
                        yield replace(item, plane=plane, shape=shape)
                    else:
                        yield shown[item.index].placed(item, exemplars[item.index])
                return
            cropped.refuse(engine, exemplars[0].layer)
    arrays = [dict(feeds.arrays) for feeds in inputs]
    yield from project_across(engine, _batch(inputs[0].of, arrays, entry), request, places)


def _agrees(found: Projection, exemplar: Exemplar) -> bool:
    return abs(found.activation - exemplar.activation) <= _TOLERANCE * max(abs(exemplar.activation), 1e-6)


def _batch(of: str, images: Sequence[dict[str, Array]], entry: Entry) -> Feeds:
    values = entry.engine.model.graph.values
    arrays: dict[str, Array] = {}
    for name, first in images[0].items():
        axis = values[name].batch_axis
        arrays[name] = first if axis is None else np.concatenate([image[name] for image in images], axis)
    return Feeds(arrays, of)
