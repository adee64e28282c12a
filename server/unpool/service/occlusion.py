"""Answers about hidden parts of an example: questions and answers free of transport, and the handler's work."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unpool.graph.errors import ExhaustedError, InvalidArgumentError
from unpool.methods.occlusion import check_output, occlude, positions
from unpool.methods.occlusion_requests import (
    Fill,
    FillKind,
    OcclusionHeader,
    OcclusionRequest,
    OcclusionTile,
    Target,
)
from unpool.methods.projection import project
from unpool.methods.requests import Positions, Projection, ProjectionHeader, ProjectionRequest
from unpool.methods.scores import ends_in_softmax, scores_output
from unpool.repository import ChannelOrder, Entry
from unpool.service.answers import InputGeometry, ProjectedUnit, ProjectHeader, Provenance
from unpool.service.questions import ModelQuestion, Shown
from unpool.service.showing import Seen

_GREY = 127.5
_NEAREST = 5


@dataclass(frozen=True)
class ClassTarget:
    """A class as a request names it: by its index or, where ``label`` is given, by that."""

    index: int
    label: str = ""
    output: str | None = None


@dataclass(frozen=True, eq=False)
class OccludeQuestion:
    """What hiding parts of an example costs.

    Attributes:
        model, examples: of what; each example gets a grid of its own.
        request: all but what depends on the model: fill and targets.
        fill: what stands in the window, colours in picture values for pictures; ``None`` is the default.
        targets: what is scored.
        projection: the summed map's projection is wanted as well.
    """

    model: ModelQuestion
    examples: tuple[Shown, ...]
    request: OcclusionRequest
    fill: Fill | None = None
    targets: tuple[ClassTarget | Target, ...] = ()
    projection: bool = False


@dataclass(frozen=True, eq=False)
class OccludeHeader:
    """What holds for a whole answer, with what the edge adds to it.

    Attributes:
        header: the method's.
        indices, labels: of each target, where it is a class: else -1 and empty.
        label: of the strongest class of the whole input.
        fill: what stands in the window, in words.
        example: which one of the question's.
        overall: how many positions come for all of them.
    """

    provenance: Provenance
    geometry: InputGeometry
    header: OcclusionHeader
    indices: tuple[int, ...]
    labels: tuple[str, ...]
    label: str
    probability: bool
    fill: str
    warnings: tuple[str, ...]
    example: int = 0
    overall: int = 0


@dataclass(frozen=True, eq=False)
class MapProjection:
    """The summed map's projection from the whole input."""

    header: ProjectHeader
    unit: ProjectedUnit

    @property
    def nbytes(self) -> int:
        """The bytes of the signal."""
        return self.unit.nbytes


def occluded(
    examples: Sequence[tuple[Entry, Seen]], question: OccludeQuestion, provenance: Callable[[Entry, Seen], Provenance]
) -> Iterator[OccludeHeader | MapProjection | OcclusionTile | None]:
    """The pieces of an answer, example by example: what is kept of one is freed before the next.

    Args:
        examples: each with the model; which of its branches it takes depends on the example.
        question: what is asked of all of them.
        provenance: how an answer says what it was made of.

    Raises:
        InvalidArgumentError: what cannot be asked of any one of them, before work on the first.
        ExhaustedError: more positions than the budget, which the examples share alike.
    """
    share = question.request.budget // len(examples)
    if not share:
        raise ExhaustedError(
            f"{len(examples)} examples have more positions than the {question.request.budget} that are allowed in one "
            "request; ask for fewer at once"
        )
    request = replace(question.request, budget=share)
    overall = sum(_positions(entry, seen, request, len(examples)) for entry, seen in examples)
    for i, (entry, seen) in enumerate(examples):
        for item in _occluded(entry, seen, replace(question, request=request), provenance(entry, seen)):
            yield replace(item, example=i, overall=overall) if isinstance(item, OccludeHeader) else item


def _positions(entry: Entry, seen: Seen, request: OcclusionRequest, examples: int) -> int:
    try:
        return positions(entry.engine, seen.feeds, request)
    except ExhaustedError as error:
        if examples == 1:
            raise
        raise ExhaustedError(f"each of {examples} examples has its share of a request's positions: {error}") from error


def _occluded(
    entry: Entry, seen: Seen, question: OccludeQuestion, provenance: Provenance
) -> Iterator[OccludeHeader | MapProjection | OcclusionTile | None]:
    fill, words = _fill(entry, seen, question)
    targets = tuple(_target(entry, i, target) for i, target in enumerate(question.targets))
    request = replace(question.request, fill=fill, targets=targets)
    for item in occlude(entry.engine, seen.feeds, request):
        if not isinstance(item, OcclusionHeader):
            yield item
            continue
        yield _header(entry, seen, request, item, provenance, words)
        if question.projection and item.map is not None:
            yield from _projection(entry, seen, question, item.map.layer, item.map.channel, provenance)


def _header(
    entry: Entry, seen: Seen, request: OcclusionRequest, found: OcclusionHeader, provenance: Provenance, fill: str
) -> OccludeHeader:
    graph = entry.engine.model.graph
    indices = []
    for scored in found.targets:
        value = graph.values[scored.output]
        single = all(b == a + 1 for a, b in zip(scored.target.lower, scored.target.upper, strict=True))
        axes = [i for i in range(len(value.axes)) if i != value.batch_axis]
        channel = value.channel_axis
        is_class = single and scored.output == found.label_output and channel is not None
        indices.append(scored.target.lower[axes.index(channel)] if is_class and channel is not None else -1)
    return OccludeHeader(
        provenance=provenance,
        geometry=seen.geometry,
        header=found,
        indices=tuple(indices),
        labels=tuple(_label(entry, i) for i in indices),
        label=_label(entry, found.label),
        probability=request.probability or (bool(found.label_output) and ends_in_softmax(graph, found.label_output)),
        fill=fill,
        warnings=(*seen.warnings, *found.warnings),
    )


def _label(entry: Entry, index: int) -> str:
    return entry.labels[index] if 0 <= index < len(entry.labels) else ""


def _fill(entry: Entry, seen: Seen, question: OccludeQuestion) -> tuple[Fill, str]:
    """The fill in the input's own values, and in words."""
    preprocessing, fill = entry.preprocessing, question.fill
    if fill is None:
        if preprocessing is None or preprocessing.target.name != seen.feeds.of:
            return Fill(), "0"
        recipe = preprocessing.recipe
        if recipe.mean is not None:
            # What the preprocessing subtracts becomes 0, whatever it is divided by.
            return Fill(), "the mean that the preprocessing subtracts"
        return _colour(entry, (_GREY,)), "mid grey"
    match fill.kind:
        case FillKind.CONSTANT:
            words = f"colour {', '.join(f'{v:g}' for v in fill.values)}"
            return (_colour(entry, fill.values) if seen.geometry.placement is not None else fill), words
        case FillKind.BLUR:
            return fill, f"the input, blurred by {fill.radius:g}"
        case FillKind.NOISE:
            return fill, f"noise, seed {fill.seed}"
        case FillKind.TENSOR:
            return fill, "a given tensor"


def _colour(entry: Entry, values: tuple[float, ...]) -> Fill:
    """A colour in picture values, RGB, as the model is fed it."""
    preprocessing = entry.preprocessing
    assert preprocessing is not None
    channels = preprocessing.target.channels
    if len(values) not in (1, channels):
        raise InvalidArgumentError("fill.colour.values", f"has {len(values)} values; give one, or {channels}")
    fed = np.broadcast_to(np.asarray(values, np.float64), (channels,))
    if preprocessing.order is ChannelOrder.BGR:
        fed = fed[::-1]
    recipe = preprocessing.recipe
    if recipe.rescale is not None:
        fed = fed * recipe.rescale
    if recipe.mean is not None:
        fed = fed - np.asarray(recipe.mean)
    if recipe.std is not None:
        fed = fed / np.asarray(recipe.std)
    return Fill(FillKind.CONSTANT, tuple(float(v) for v in fed))


def _target(entry: Entry, number: int, target: ClassTarget | Target) -> Target:
    """A class as a box of its output."""
    if isinstance(target, Target):
        return target
    graph = entry.engine.model.graph
    index = target.index if not target.label else _index(entry, number, target.label)
    name = target.output or scores_output(graph)
    if target.output is not None:
        check_output(graph, target.output, f"targets[{number}].output")
    value = graph.values.get(name or "")
    if value is None or value.shape is None or value.channel_axis is None:
        raise InvalidArgumentError(
            f"targets[{number}]", f"no output reads as class scores; give a box of one of {', '.join(graph.outputs)}"
        )
    classes = value.shape[value.channel_axis]
    if isinstance(classes, int) and not 0 <= index < classes:
        raise InvalidArgumentError(f"targets[{number}].index", f"{index} is not a class, 0 to {classes - 1}")
    place = [0] * len(value.shape)
    place[value.channel_axis] = index
    return Target.element(*(p for i, p in enumerate(place) if i != value.batch_axis), output=name)


def _index(entry: Entry, number: int, label: str) -> int:
    """The class that a label means: in full, or one of the names between its commas."""
    wanted = label.strip().lower()
    names: dict[str, int] = {}
    for i, known in enumerate(entry.labels):
        names.setdefault(known.strip().lower(), i)
    for i, known in enumerate(entry.labels):
        for part in known.lower().split(","):
            names.setdefault(part.strip(), i)
    if wanted in names:
        return names[wanted]
    field = f"targets[{number}].label"
    if not entry.labels:
        raise InvalidArgumentError(field, "the model has no labels; name the class by its index")
    close = difflib.get_close_matches(wanted[:200], names, n=_NEAREST, cutoff=0.0)
    raise InvalidArgumentError(
        field, f"no class '{label[:200]}'; the nearest are {', '.join(entry.labels[names[c]] for c in close)}"
    )


def _projection(
    entry: Entry, seen: Seen, question: OccludeQuestion, layer: str, channel: int, provenance: Provenance
) -> Iterator[MapProjection | None]:
    request = ProjectionRequest(layer, channels=(channel,), positions=Positions.MAP)
    header: ProjectionHeader | None = None
    for item in project(entry.engine, seen.feeds, request):
        if isinstance(item, ProjectionHeader):
            header = item
        elif isinstance(item, Projection):
            assert header is not None
            told = ProjectHeader(
                provenance=provenance,
                geometry=seen.geometry,
                request=request,
                header=header,
                axes=entry.engine.model.graph.values[header.layer].axes,
                warnings=header.warnings,
            )
            yield MapProjection(told, _unit(entry, seen, item, layer))
        else:
            yield None


def _unit(entry: Entry, seen: Seen, found: Projection, layer: str) -> ProjectedUnit:
    placement, preprocessing = seen.geometry.placement, entry.preprocessing
    turned = preprocessing is not None and preprocessing.order is ChannelOrder.BGR and placement is not None
    return ProjectedUnit(
        projection=found,
        layer=layer,
        label="",
        signal=np.ascontiguousarray(found.signal[::-1] if turned else found.signal),
        all_zero=not found.signal.any(),
        picture_box=placement.picture_box(found.lower, found.upper) if placement is not None else None,
        png=b"",
        magnitude=0.0,
        completed=1,
    )
