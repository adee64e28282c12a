"""Handlers of questions about data sets: scan, list, patch, project, evolution; free of transport, piece by piece."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TypeVar

from unpool.engine.policies import Policy
from unpool.exemplars import (
    DataSet,
    Exemplar,
    Roots,
    ScanDone,
    ScanHeader,
    ScanIndex,
    ScanProgress,
    ScanRequest,
    Store,
    open_dataset,
    scan,
)
from unpool.exemplars.cropping import Cropped
from unpool.exemplars.evolution import changes, settling, strongest
from unpool.exemplars.finding import find_scan
from unpool.exemplars.patches import patch
from unpool.exemplars.projecting import Projected, project_exemplars
from unpool.exemplars.standing import standing
from unpool.graph.errors import InvalidArgumentError, NotFoundError, OutOfRangeError, PreconditionError
from unpool.methods.projection import Standing
from unpool.methods.requests import ProjectionHeader, ProjectionRequest
from unpool.pictures import png_bytes
from unpool.repository import ChannelOrder, Entry, Repository, State
from unpool.service.answers import InputGeometry, ProjectHeader, Provenance
from unpool.service.exemplar_questions import (
    ChannelAnswer,
    EvolutionAnswer,
    EvolutionHeader,
    EvolutionQuestion,
    EvolutionStep,
    ExemplarsPage,
    ExemplarsQuestion,
    ExemplarUnit,
    PatchAnswer,
    PatchQuestion,
    ProjectExemplarsQuestion,
    ScanQuestion,
    VersionProgress,
)
from unpool.service.held import Held
from unpool.service.inspection import projected_unit
from unpool.service.questions import ModelQuestion, PictureShown, ProjectQuestion, Render, TensorShown
from unpool.service.scheduler import Pieces
from unpool.service.showing import Seen
from unpool.service.software import software

T = TypeVar("T")
_FRESH_SECONDS = 10.0
"""How long an opened data set is taken for what it was: a page of channels should not list a million files."""


class ExemplarHandlers:
    """Answers questions about data sets.

    Args:
        repository: the models.
        roots: where data may be read.
        index: URI below which indices lie.
    """

    def __init__(self, repository: Repository, roots: Roots, index: str) -> None:
        self._repository = repository
        self._roots = roots
        self._index = index
        self._cropped = Cropped()
        self._opened: dict[str, tuple[float, DataSet]] = {}
        self._lock = threading.Lock()

    def scan(self, question: ScanQuestion) -> Pieces[ScanHeader | ScanProgress | ScanDone]:
        """A scan: a header, progress, and what is done."""
        dataset = open_dataset(question.dataset, self._roots)
        return self._held(question.model, lambda e: scan(e, dataset, question.request, self._store()))

    def list(self, question: ExemplarsQuestion) -> ExemplarsPage:
        """A page of channels."""
        with self._repository.lend(question.model.name, question.model.version) as entry:
            index, _, name = self._find(entry, question.layer, question.dataset)
            layer = entry.engine.model.layers.find(name)
            wanted = self._channels(entry, name, question.channels) or tuple(range(layer.channels or 0))
            begin = _begin(question.page_token)
            page = wanted[begin : begin + question.page_size]
            found: dict[int, list[Exemplar]] = {channel: [] for channel in page}
            for exemplar in index.exemplars(name, page) if page else ():
                found[exemplar.channel].append(exemplar)
            statistics = {s.channel: s for s in index.statistics(name, page)} if page else {}
            end = begin + len(page)
            return ExemplarsPage(
                scan=index.description,
                layer=name,
                alias=layer.alias,
                channels=tuple(ChannelAnswer(statistics[c], tuple(found[c])) for c in page),
                next_token=str(end) if page and end < len(wanted) else "",
            )

    def standing(self, entry: Entry, layer: str, dataset: str | None) -> Standing:
        """How a layer's channels stand among the images of a data set.

        Raises:
            NotFoundError: unknown layer.
            InvalidArgumentError: no data set is named, and there are several.
            PreconditionError: there is no such scan.
        """
        index, _, name = self._find(entry, layer, dataset)
        statistics = sorted(index.statistics(name), key=lambda one: one.channel)
        return lambda values: standing(statistics, values)

    def patch(self, question: PatchQuestion) -> PatchAnswer:
        """What one exemplar's unit saw."""
        with self._repository.lend(question.model.name, question.model.version) as entry:
            index, dataset, name = self._find(entry, question.layer, question.dataset)
            self._channels(entry, name, (question.channel,))
            found = index.exemplars(name, (question.channel,))
            if not 0 <= question.place < len(found):
                fired = f"0 to {len(found) - 1}" if found else "none: it fired on no image"
                raise OutOfRangeError("place", f"{question.place} is not among the channel's exemplars, {fired}")
            drawn = patch(dataset, found[question.place], entry.engine.model.graph)
            if drawn is None:
                raise PreconditionError("the data set holds tensors of other than one or three channels over a plane")
            return PatchAnswer(found[question.place], png_bytes(drawn))

    def project(self, question: ProjectExemplarsQuestion) -> Pieces[ProjectHeader | ExemplarUnit]:
        """Projections of exemplars: a header, then each as it is ready."""
        return self._held(question.model, lambda e: self._projected(e, question))

    def evolution(self, question: EvolutionQuestion) -> Pieces[EvolutionAnswer]:
        """An evolution: a header, then version by version."""
        versions = self._versions(question)
        dataset = open_dataset(question.dataset, self._roots)
        return Held(self._evolved(question, versions, dataset), None)

    def _store(self) -> Store:
        return Store(self._index)

    def _held(self, model: ModelQuestion, answer: Callable[[Entry], Iterator[T | None]]) -> Pieces[T]:
        with ExitStack() as stack:
            entry = stack.enter_context(self._repository.lend(model.name, model.version))
            return Held(answer(entry), stack.pop_all().close)

    def _find(self, entry: Entry, layer: str, dataset: str | None) -> tuple[ScanIndex, DataSet, str]:
        name = entry.engine.model.layers.find(layer).name
        uri = None if dataset is None else self._roots.check(dataset)
        index, data = find_scan(self._store(), entry, name, uri, self._open)
        return index, data, name

    def _open(self, uri: str) -> DataSet:
        with self._lock:
            kept = self._opened.get(uri)
            if kept is not None and time.monotonic() - kept[0] < _FRESH_SECONDS:
                return kept[1]
        found = open_dataset(uri, self._roots)
        with self._lock:
            self._opened = {uri: (time.monotonic(), found)}
        return found

    def _channels(self, entry: Entry, layer: str, channels: tuple[int, ...]) -> tuple[int, ...]:
        count = entry.engine.model.layers.find(layer).channels or 0
        for i, channel in enumerate(channels):
            if not 0 <= channel < count:
                raise OutOfRangeError(f"channels[{i}]", f"{channel} is outside the layer's channels, 0 to {count - 1}")
        return tuple(sorted(set(channels)))

    def _projected(
        self, entry: Entry, question: ProjectExemplarsQuestion
    ) -> Iterator[ProjectHeader | ExemplarUnit | None]:
        index, dataset, name = self._find(entry, question.layer, question.dataset)
        channels = self._channels(entry, name, question.channels)
        kept = [e for e in index.exemplars(name, channels) if not question.count or e.place < question.count]
        order = {channel: i for i, channel in enumerate(question.channels)}
        kept.sort(key=lambda e: (order[e.channel], e.place))
        if not kept:
            raise PreconditionError("none of these channels fired on any image of the data set")
        yield from self._units(
            entry, dataset, kept, question.policy, question.render, question.omit_signal, question.omit_patch
        )

    def _units(
        self,
        entry: Entry,
        dataset: DataSet,
        exemplars: Sequence[Exemplar],
        policy: Policy,
        render: Render | None,
        omit_signal: bool,
        omit_patch: bool,
    ) -> Iterator[ProjectHeader | ExemplarUnit | None]:
        request = ProjectionRequest(exemplars[0].layer, policy=policy)
        header: ProjectionHeader | None = None
        completed = 0
        for item in project_exemplars(entry, dataset, exemplars, request, self._cropped):
            if item is None:
                yield None
            elif isinstance(item, ProjectionHeader):
                header = item
                yield _header(entry, request, header)
            else:
                assert header is not None
                completed += 1
                yield _unit(entry, dataset, item, header, request, render, omit_signal, omit_patch, completed)

    def _versions(self, question: EvolutionQuestion) -> tuple[int, ...]:
        listed = {model.name: model for model in self._repository.list()}
        if question.model not in listed:
            raise NotFoundError("model", question.model, listed)
        served = [v.version for v in listed[question.model].versions if v.state is not State.UNAVAILABLE]
        for version in question.versions:
            if version not in served:
                raise NotFoundError("version", f"{question.model}/{version}", (f"{question.model}/{v}" for v in served))
        versions = tuple(sorted(set(question.versions))) or tuple(served)
        if len(versions) < 2:
            raise PreconditionError(f"model '{question.model}' has {len(versions)} version; an evolution needs two")
        return versions

    def _evolved(
        self, question: EvolutionQuestion, versions: tuple[int, ...], dataset: DataSet
    ) -> Iterator[EvolutionAnswer | None]:
        before: tuple[int, dict[int, Exemplar]] | None = None
        for version in versions:
            with self._repository.lend(question.model, version) as entry:
                layer = entry.engine.model.layers.find(question.layer)
                self._channels(entry, layer.name, question.channels)
                if before is None:
                    yield EvolutionHeader(
                        question.model, versions, layer.name, layer.alias, question.channels, dataset.uri
                    )
                index: ScanIndex | None = None
                try:
                    index, _ = find_scan(self._store(), entry, layer.name, dataset.uri, lambda _: dataset)
                except PreconditionError:
                    for item in scan(entry, dataset, ScanRequest((layer.name,)), self._store()):
                        if isinstance(item, ScanHeader):
                            index = ScanIndex(self._store(), item.description)
                        yield VersionProgress(version, item) if isinstance(item, ScanProgress) else None
                assert index is not None
                found = strongest(index.exemplars(layer.name))
                chosen = [found[channel] for channel in question.channels if channel in found]
                units: dict[int, ExemplarUnit] = {}
                header: ProjectHeader | None = None
                if chosen:
                    for unit in self._units(entry, dataset, chosen, question.policy, None, question.omit_signal, False):
                        if isinstance(unit, ExemplarUnit):
                            units[unit.exemplar.channel] = unit
                        elif unit is not None:
                            header = unit
                        yield None
                earlier = before[1] if before is not None else None
                for channel in question.channels:
                    changed = earlier is not None and changes(earlier.get(channel), found.get(channel))
                    one = units.get(channel)
                    yield EvolutionStep(version, channel, one, header if one is not None else None, changed)
                if before is not None:
                    yield settling(layer.name, layer.channels or 0, before, (version, found))
                before = (version, found)


def _header(entry: Entry, request: ProjectionRequest, header: ProjectionHeader) -> ProjectHeader:
    graph = entry.engine.model.graph
    order = entry.preprocessing.order if entry.preprocessing is not None else None
    geometry = InputGeometry(header.to, header.plane, None, order if order is ChannelOrder.GRAY else None)
    warnings = entry.preprocessing.warnings if entry.preprocessing is not None else ()
    provenance = Provenance(
        model=entry.name,
        version=entry.version,
        digest=entry.engine.model.digest,
        input_digest="",
        preprocessing=entry.preprocessing,
        provider=entry.engine.providers[0],
        device=entry.engine.device,
        software=software(),
    )
    axes = graph.values[header.layer].axes
    return ProjectHeader(provenance, geometry, request, header, axes, (*warnings, *header.warnings))


def _unit(
    entry: Entry,
    dataset: DataSet,
    found: Projected,
    header: ProjectionHeader,
    request: ProjectionRequest,
    render: Render | None,
    omit_signal: bool,
    omit_patch: bool,
    completed: int,
) -> ExemplarUnit:
    example = found.example
    feeds, placement = example.feeds, example.placement
    order: ChannelOrder | None = None
    if placement is not None and entry.preprocessing is not None:
        order = ChannelOrder.GRAY if entry.preprocessing.order is ChannelOrder.GRAY else ChannelOrder.RGB
    graph = entry.engine.model.graph
    plane = tuple(feeds.arrays[feeds.of].shape[axis] for axis in graph.values[feeds.of].spatial_axes.values())
    geometry = InputGeometry(feeds.of, plane, placement, order)
    shown = PictureShown(b"") if placement is not None else TensorShown(feeds.arrays[feeds.of])
    question = ProjectQuestion(ModelQuestion(entry.name), shown, request, render, omit_signal)
    unit = projected_unit(entry, Seen(feeds, geometry, ()), question, header, found.projection, completed)
    drawn = None if omit_patch else patch(dataset, found.exemplar, graph)
    return ExemplarUnit(found.exemplar, geometry, unit, b"" if drawn is None else png_bytes(drawn))


def _begin(token: str) -> int:
    if not token:
        return 0
    if not token.isdecimal() or len(token) > 12:
        raise InvalidArgumentError("page_token", "is not the next_page_token of a page; begin without one")
    return int(token)
