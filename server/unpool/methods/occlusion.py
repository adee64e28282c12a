"""Occlusion: what hiding each place of an input costs (Zeiler & Fergus 2013, section 4.2 and Figure 7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unpool.engine import Engine, Feeds, Occluded, Occluders, Occlusion, hidden_axes, painted, repeated
from unpool.graph.errors import InvalidArgumentError, NotFoundError
from unpool.graph.model import Array, Graph, Value
from unpool.methods.fills import filled
from unpool.methods.grids import Grid, listed, passes, regular
from unpool.methods.occlusion_requests import (
    Mode,
    OcclusionHeader,
    OcclusionRequest,
    OcclusionTile,
    Scored,
    SummedMap,
    Target,
)
from unpool.methods.scores import Reader, as_run, scores_output

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Question:
    """What is read off each run: the reader of the outputs, and the map that is summed up, if any."""

    reader: Reader
    targets: tuple[Target, ...]
    labels: str | None
    map: tuple[str, str, int] | None

    @property
    def names(self) -> tuple[str, ...]:
        """The values that are wanted of a run."""
        return tuple(dict.fromkeys([*self.reader.outputs, *([self.map[0]] if self.map else [])]))


def occlude(
    engine: Engine, feeds: Feeds, request: OcclusionRequest
) -> Iterator[OcclusionHeader | OcclusionTile | None]:
    """Slides a window over an input and scores what is left.

    Args:
        engine: the model.
        feeds: one image; of several inputs ``feeds.of`` is hidden in part, the others stay.
        request: what to hide, and what to score.

    Yields:
        The header, then tiles, the coarsest positions first; ``None`` between two pieces of work, before the header
        too, when the caller may pause or give up. Every tile equals whole runs on the occluded inputs.

    Raises:
        InvalidArgumentError: inputs that the model does not take, a window, stride, position, fill, target or layer
            that cannot be; the field is named.
        NotFoundError: no such output or layer.
        ExhaustedError: more positions than the budget.
    """
    engine.check(feeds)
    if (images := engine.images(feeds)) != 1:
        raise InvalidArgumentError("tensor", f"an occlusion takes one image at a time, not {images}")
    # What is hidden may turn a condition round: only Ifs that no window reaches are the same for every position.
    engine = engine.taken(feeds, changing=feeds.of)
    graph = engine.model.graph
    value, array = graph.values[feeds.of], feeds.arrays[feeds.of]
    grid = _grid(value, array, request)
    fill = filled(array, value, request.fill)
    numbers = passes(grid.shape, _only(request, len(grid)))
    yield None
    whole = engine.run(feeds, _baseline_names(engine, request))
    question = _question(engine, request, whole)
    occluders = Occluders(feeds.of, grid.origins, grid.window, fill)
    runs: Occlusion | None = None
    # Where there is no plane, every window reaches everything.
    if request.mode is not Mode.BRUTE_FORCE and question.names and value.spatial_axes:
        maps = {question.map[0]: question.map[2]} if question.map else {}
        stages = engine.occlusion(
            feeds,
            occluders,
            question.reader.outputs,
            maps,
            forced=request.mode is Mode.BOXES,
            batched=engine.proven_batch(feeds),
        )
        for stage in stages:
            if stage is None:
                yield None
            else:
                runs = stage
    yield _header(grid, question, whole, sum(map(len, numbers)), runs)
    yield from _tiles(engine, feeds, occluders, question, numbers, runs)


def positions(engine: Engine, feeds: Feeds, request: OcclusionRequest) -> int:
    """How many positions an answer will have: what ``occlude`` would tell, before any work.

    Raises:
        InvalidArgumentError, ExhaustedError: as ``occlude`` does of window, stride, positions and budget.
    """
    grid = _grid(engine.model.graph.values[feeds.of], feeds.arrays[feeds.of], request)
    only = _only(request, len(grid))
    return len(grid) if only is None else len(set(only))


def _grid(value: Value, array: Array, request: OcclusionRequest) -> Grid:
    plane = [array.shape[axis] for axis in hidden_axes(value)]
    if request.positions is not None:
        return listed(plane, request.window, request.positions, request.budget)
    return regular(plane, request.window, request.stride, request.budget)


def _only(request: OcclusionRequest, count: int) -> tuple[int, ...] | None:
    if request.only is None:
        return None
    for i, number in enumerate(request.only):
        if not 0 <= number < count:
            raise InvalidArgumentError(f"only[{i}]", f"{number} is not a position of the grid, 0 to {count - 1}")
    if not request.only:
        raise InvalidArgumentError("only", "is empty; leave it out for all positions")
    return request.only


def _scores_name(graph: Graph, request: OcclusionRequest) -> str | None:
    if request.output is not None and request.output not in graph.outputs:
        raise NotFoundError("output", request.output, graph.outputs)
    return request.output or scores_output(graph)


def check_output(graph: Graph, name: str, field: str) -> None:
    """Refuses a name that no output has.

    Raises:
        InvalidArgumentError: there is none; it names ``field`` and the nearest outputs.
    """
    if name not in graph.outputs:
        raise InvalidArgumentError(field, str(NotFoundError("output", name, graph.outputs)))


def _baseline_names(engine: Engine, request: OcclusionRequest) -> list[str]:
    graph = engine.model.graph
    scores = _scores_name(graph, request)
    names = [scores] if scores else []
    for i, target in enumerate(request.targets):
        if target.output is None and scores is None:
            raise InvalidArgumentError(
                f"targets[{i}]", f"no output reads as class scores; name one of {', '.join(graph.outputs)}"
            )
        if target.output is not None:
            check_output(graph, target.output, f"targets[{i}].output")
            names.append(target.output)
    if request.layer is not None:
        layer = engine.model.layers.find(request.layer)
        if graph.values[layer.name].channel_axis is None:
            raise InvalidArgumentError(
                "layer", f"'{layer.name}' has no channel axis; name one that 'ListLayers' gives channels for"
            )
        names += [layer.name, layer.rank_name]
    if request.top < 0:
        raise InvalidArgumentError("top", f"is {request.top}; give 1 or more")
    if request.top and scores is None:
        raise InvalidArgumentError("top", f"no output reads as class scores; name one of {', '.join(graph.outputs)}")
    if not request.targets and not request.top and request.layer is None and scores is None:
        raise InvalidArgumentError("targets", f"is empty; score an element of one of {', '.join(graph.outputs)}")
    return list(dict.fromkeys(names))


def _question(engine: Engine, request: OcclusionRequest, whole: dict[str, Array]) -> _Question:
    graph = engine.model.graph
    scores = _scores_name(graph, request)
    shapes = {name: array.shape for name, array in whole.items()}
    if scores is not None and np.size(whole[scores]) != max(whole[scores].shape, default=1):
        if request.top:
            raise InvalidArgumentError("top", f"output '{scores}' of shape {shapes[scores]} is not one row of scores")
        labels = None
    else:
        labels = scores
    targets = [t if t.output else Target(t.lower, t.upper, scores) for t in request.targets]
    if request.top and scores is not None:
        row = whole[scores].reshape(-1)
        batch = as_run(graph.values[scores], shapes[scores]).batch_axis
        shape = tuple(n for i, n in enumerate(shapes[scores]) if i != batch)
        for place in np.argsort(-row.astype(np.float64), kind="stable")[: request.top]:
            found = Target.element(*(int(i) for i in np.unravel_index(place, shape)), output=scores)
            targets += [found] if found not in targets else []
    reader = Reader(graph, shapes, targets, labels, probability=request.probability)
    return _Question(reader, tuple(targets), labels, _strongest(engine, request, whole))


def _strongest(engine: Engine, request: OcclusionRequest, whole: dict[str, Array]) -> tuple[str, str, int] | None:
    """The layer, its alias, and the channel with the largest value on the whole input."""
    if request.layer is None:
        return None
    layer = engine.model.layers.find(request.layer)
    value = engine.model.graph.values[layer.rank_name]
    if value.channel_axis is None:
        value = engine.model.graph.values[layer.name]
    assert value.channel_axis is not None
    ranks = np.moveaxis(whole[value.name], value.channel_axis, 0)
    return layer.name, layer.alias, int(ranks.reshape(len(ranks), -1).max(1).argmax())


def map_sums(value: Value, values: Array, channel: int, count: int) -> npt.NDArray[np.float64]:
    """The sum of one channel's map for each example, float64 (count,)."""
    assert value.channel_axis is not None
    chosen = np.take(values, channel, value.channel_axis)
    batch = value.batch_axis
    if batch is not None:
        chosen = np.moveaxis(chosen, batch - (value.channel_axis < batch), 0)
    sums: npt.NDArray[np.float64] = chosen.reshape(count, -1).sum(1, dtype=np.float64)
    return sums


def _header(
    grid: Grid, question: _Question, whole: dict[str, Array], total: int, runs: Occlusion | None
) -> OcclusionHeader:
    reader = question.reader
    baselines = reader.scores(whole, 1)[:, 0]
    labels = reader.labels(whole, 1)
    summed = None
    if question.map is not None:
        name, alias, channel = question.map
        summed = SummedMap(name, alias, channel, float(map_sums(reader.value(name), whole[name], channel, 1)[0]))
    return OcclusionHeader(
        plane=grid.plane,
        window=grid.window,
        stride=grid.stride,
        shape=grid.shape,
        origins=grid.origins,
        targets=tuple(Scored(t, t.output or "", float(b)) for t, b in zip(question.targets, baselines, strict=True)),
        label_output=question.labels or "",
        label=int(labels[0]) if len(labels) else -1,
        map=summed,
        total=total,
        boxed=0.0 if runs is None else runs.boxed,
        saved=1.0 if runs is None else runs.saved,
    )


def _tiles(
    engine: Engine,
    feeds: Feeds,
    occluders: Occluders,
    question: _Question,
    numbers: list[Ints],
    runs: Occlusion | None,
) -> Iterator[OcclusionTile | None]:
    reader, completed = question.reader, 0
    for level, due in enumerate(numbers):
        pieces = _brute(engine, feeds, occluders, due, question) if runs is None else runs.run(due)
        for piece in pieces:
            if piece is None:
                yield None
                continue
            count = len(piece.numbers)
            completed += count
            sums = np.zeros(0)
            if question.map is not None:
                sums = piece.sums[question.map[0]]
            yield OcclusionTile(
                numbers=piece.numbers,
                scores=reader.scores(piece.values, count),
                labels=reader.labels(piece.values, count),
                sums=sums,
                completed=completed,
                coarse=level == 0 and len(numbers) > 1,
            )


def _brute(
    engine: Engine, feeds: Feeds, occluders: Occluders, numbers: Ints, question: _Question
) -> Iterator[Occluded | None]:
    """The whole network on every occluded input, in batches."""
    graph = engine.model.graph
    batched = engine.proven_batch(feeds)
    size = engine.forward_batch(feeds) if batched else 1
    for first in range(0, len(numbers), size):
        chosen = numbers[first : first + size]
        arrays = {n: a if n == feeds.of else repeated(a, graph.values[n], len(chosen)) for n, a in feeds.arrays.items()}
        arrays[feeds.of] = painted(feeds.arrays[feeds.of], graph.values[feeds.of], occluders, chosen)
        found = engine.run(Feeds(arrays, feeds.of), question.names)
        sums = {}
        if question.map is not None:
            name, _, channel = question.map
            sums[name] = map_sums(graph.values[name], found[name], channel, len(chosen))
        yield Occluded(chosen, found, sums)
