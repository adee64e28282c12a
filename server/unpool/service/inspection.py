"""Handlers of questions about one example: classify, capture, project; free of transport, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from typing import TypeVar

import numpy as np

from unpool.graph.errors import InvalidArgumentError
from unpool.methods.capture import capture
from unpool.methods.classification import classify
from unpool.methods.occlusion_requests import OcclusionTile
from unpool.methods.projection import project
from unpool.methods.requests import Activation, Projection, ProjectionHeader
from unpool.methods.scores import ends_in_softmax, scores_output
from unpool.methods.units import Standing
from unpool.pictures import png_bytes, render_signal
from unpool.repository import ChannelOrder, Entry, Repository
from unpool.service.answers import (
    CaptureChunk,
    CapturedLayer,
    CaptureHeader,
    ClassifyAnswer,
    LabelledScore,
    ProjectedUnit,
    ProjectedUnits,
    ProjectHeader,
    Provenance,
)
from unpool.service.held import Held
from unpool.service.occlusion import MapProjection, OccludeHeader, OccludeQuestion, occluded
from unpool.service.questions import (
    CaptureQuestion,
    ClassifyQuestion,
    ModelQuestion,
    PictureShown,
    ProjectQuestion,
    Render,
    Shown,
)
from unpool.service.scheduler import Pieces
from unpool.service.showing import Seen, of_example, see, taking
from unpool.service.software import software

T = TypeVar("T")
_TOGETHER_BYTES = 1 << 20


class InspectionHandlers:
    """Answers questions about one example; each method prepares and gives the pieces of the answer.

    Args:
        repository: the models.
        pixels: the most pixels of a picture.
        standing: how the channels of a layer stand among the images of a data set: model, layer, URI (``None`` is the
            only one that was scanned).
    """

    def __init__(
        self, repository: Repository, *, pixels: int, standing: Callable[[Entry, str, str | None], Standing]
    ) -> None:
        self._repository = repository
        self._pixels = pixels
        self._standing = standing

    def classify(self, question: ClassifyQuestion) -> Pieces[ClassifyAnswer]:
        """The strongest classes: one answer."""
        output = (question.output,) if question.output else None
        return self._held(question.model, question.shown, output, lambda e, s: _classified(e, s, question))

    def capture(self, question: CaptureQuestion) -> Pieces[CaptureHeader | CaptureChunk]:
        """Activations: a header, then each tensor in pieces."""
        return self._held(question.model, question.shown, question.layers, lambda e, s: _captured(e, s, question))

    def project(self, question: ProjectQuestion) -> Pieces[ProjectHeader | ProjectedUnits]:
        """Projections: a header, then those that are ready together, again and again."""

        def answer(entry: Entry, seen: Seen) -> Iterator[ProjectHeader | ProjectedUnits | None]:
            standing = None
            if question.against is not None:
                standing = self._standing(entry, question.request.layer, question.against or None)
            return _projected(entry, seen, question, standing)

        return self._held(question.model, question.shown, question.request.named, answer)

    def occlude(self, question: OccludeQuestion) -> Pieces[OccludeHeader | MapProjection | OcclusionTile]:
        """What hiding parts costs: for each example a header, the map's projection if asked for, tiles coarse first."""

        def answer(entry: Entry) -> Iterator[OccludeHeader | MapProjection | OcclusionTile | None]:
            examples = [taking(entry, seen, changing=True) for seen in self._examples(entry, question.examples)]
            return occluded(examples, question, _provenance)

        return self._lent(question.model, answer)

    def _examples(self, entry: Entry, shown: tuple[Shown, ...]) -> list[Seen]:
        if len(shown) == 1:
            return [see(entry, shown[0], pixels=self._pixels)]
        found = []
        for i, example in enumerate(shown):
            with of_example(i):
                found.append(see(entry, example, pixels=self._pixels))
        return found

    def _held(
        self,
        model: ModelQuestion,
        shown: Shown,
        asked: Iterable[str] | None,
        answer: Callable[[Entry, Seen], Iterator[T | None]],
    ) -> Pieces[T]:
        return self._lent(model, lambda e: answer(*taking(e, see(e, shown, pixels=self._pixels), asked=asked)))

    def _lent(self, model: ModelQuestion, answer: Callable[[Entry], Iterator[T | None]]) -> Pieces[T]:
        with ExitStack() as stack:
            entry = stack.enter_context(self._repository.lend(model.name, model.version))
            return Held(answer(entry), stack.pop_all().close)


def _provenance(entry: Entry, seen: Seen) -> Provenance:
    return Provenance(
        model=entry.name,
        version=entry.version,
        digest=entry.engine.model.digest,
        input_digest=seen.feeds.digest,
        preprocessing=entry.preprocessing if seen.geometry.placement is not None else None,
        provider=entry.engine.providers[0],
        device=entry.engine.device,
        software=software(),
    )


def _label(entry: Entry, index: int) -> str:
    return entry.labels[index] if index < len(entry.labels) else ""


def _classified(entry: Entry, seen: Seen, question: ClassifyQuestion) -> Iterator[ClassifyAnswer | None]:
    graph = entry.engine.model.graph
    chosen = question.output or scores_output(graph) or graph.outputs[0]
    softmax = ends_in_softmax(graph, chosen)
    output, scores = classify(
        entry.engine,
        seen.feeds,
        top=question.top,
        output=chosen,
        probability=question.probability and not softmax,
    )
    yield ClassifyAnswer(
        provenance=_provenance(entry, seen),
        geometry=seen.geometry,
        output=output,
        classes=tuple(LabelledScore(score, _label(entry, score.index)) for score in scores),
        probability=question.probability or softmax,
        warnings=seen.warnings,
    )


def _captured(entry: Entry, seen: Seen, question: CaptureQuestion) -> Iterator[CaptureHeader | CaptureChunk | None]:
    found: list[Activation] = []
    for item in capture(entry.engine, seen.feeds, question.layers):
        if item is None:
            yield None
        else:
            found.append(item)
    values = entry.engine.model.graph.values
    yield CaptureHeader(
        provenance=_provenance(entry, seen),
        geometry=seen.geometry,
        layers=tuple(
            CapturedLayer(a.name, a.alias, a.values.dtype.name, a.values.shape, values[a.name].axes, a.values.nbytes)
            for a in found
        ),
        warnings=seen.warnings,
    )
    for layer in range(len(found)):
        # Each tensor is let go of when it has been sent, not when all have.
        array = np.ascontiguousarray(found[layer].values)
        found[layer] = Activation("", "", np.empty(0))
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        data = little.reshape(-1).view(np.uint8)
        step = question.chunk_bytes - question.chunk_bytes % array.dtype.itemsize
        for index, offset in enumerate(range(0, len(data), step)):
            piece = data[offset : offset + step]
            yield CaptureChunk(layer, index, offset, piece.tobytes(), last=offset + step >= len(data))


def _projected(
    entry: Entry, seen: Seen, question: ProjectQuestion, standing: Standing | None
) -> Generator[ProjectHeader | ProjectedUnits | None, None, None]:
    completed = 0
    header: ProjectionHeader | None = None
    ready: list[ProjectedUnit] = []
    for item in project(entry.engine, seen.feeds, question.request, standing):
        if item is None:
            yield ProjectedUnits(tuple(ready)) if ready else None
            ready.clear()
        elif isinstance(item, ProjectionHeader):
            header = item
            yield _header(entry, seen, question, header)
        else:
            assert header is not None
            completed += 1
            ready.append(projected_unit(entry, seen, question, header, item, completed))
            # A drawing takes its time: each is a piece of its own.
            if question.render is not None or sum(unit.nbytes for unit in ready) >= _TOGETHER_BYTES:
                yield ProjectedUnits(tuple(ready))
                ready.clear()
    if ready:
        yield ProjectedUnits(tuple(ready))


def _header(entry: Entry, seen: Seen, question: ProjectQuestion, header: ProjectionHeader) -> ProjectHeader:
    if question.render is not None and (len(header.plane) != 2 or header.sink_channels not in (1, 3)):
        raise InvalidArgumentError(
            "render",
            f"signals at '{header.to}' have {header.sink_channels} channels over a plane of {len(header.plane)} axes; "
            "drawn are one or three channels over two axes",
        )
    return ProjectHeader(
        provenance=_provenance(entry, seen),
        geometry=seen.geometry,
        request=question.request,
        header=header,
        axes=entry.engine.model.graph.values[header.layer].axes,
        warnings=(*seen.warnings, *header.warnings),
    )


def projected_unit(
    entry: Entry, seen: Seen, question: ProjectQuestion, header: ProjectionHeader, found: Projection, completed: int
) -> ProjectedUnit:
    """A projection with what the edge adds: colours in the picture's order, a drawing, its place in the picture."""
    at_input = header.to == seen.geometry.input
    placement = seen.geometry.placement if at_input else None
    preprocessing = entry.preprocessing
    turned = at_input and preprocessing is not None and preprocessing.order is ChannelOrder.BGR
    rgb = found.signal[::-1] if turned else found.signal
    # Colours are given in the picture's order; who gave a tensor gets the tensor's own, and drawings are always RGB.
    signal = rgb if isinstance(question.shown, PictureShown) else found.signal
    png, magnitude = _drawn(rgb, question.render)
    is_output = header.layer in entry.engine.model.graph.outputs
    return ProjectedUnit(
        projection=found,
        layer=header.layer,
        label=_label(entry, found.channel) if is_output else "",
        signal=None if question.omit_signal else np.ascontiguousarray(signal),
        all_zero=not found.signal.any(),
        picture_box=placement.picture_box(found.lower, found.upper) if placement is not None else None,
        png=png,
        magnitude=magnitude,
        completed=completed,
    )


def _drawn(signal: np.ndarray[tuple[int, ...], np.dtype[np.float32]], render: Render | None) -> tuple[bytes, float]:
    if render is None:
        return b"", 0.0
    drawn = render_signal(signal, gain=render.gain, magnitude=render.magnitude, zoom=render.zoom)
    return png_bytes(drawn.image), drawn.magnitude
