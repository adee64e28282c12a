"""Handlers of questions about a model over a data set: scan, list, patch, project; free of transport, in pieces."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeVar

from unpool.exemplars import (
    DataSet,
    Exemplar,
    Roots,
    ScanDone,
    ScanHeader,
    ScanIndex,
    ScanProgress,
    Store,
    open_dataset,
    scan,
)
from unpool.exemplars.cropping import Cropped
from unpool.exemplars.finding import find_scan
from unpool.exemplars.patches import patch
from unpool.exemplars.standing import standing
from unpool.graph.errors import InvalidArgumentError, OutOfRangeError, PreconditionError
from unpool.methods.units import Standing
from unpool.pictures import png_bytes
from unpool.repository import Entry, Repository
from unpool.service.answers import ProjectHeader
from unpool.service.exemplar_questions import (
    ChannelAnswer,
    ExemplarsPage,
    ExemplarsQuestion,
    ExemplarUnit,
    PatchAnswer,
    PatchQuestion,
    ProjectExemplarsQuestion,
    ScanQuestion,
)
from unpool.service.exemplar_units import Shown, checked_channels, units
from unpool.service.held import Held
from unpool.service.questions import ModelQuestion
from unpool.service.scheduler import Pieces

T = TypeVar("T")
_FRESH_SECONDS = 10.0
"""How long an opened data set is taken for what it was: a page of channels should not list a million files."""


class ExemplarHandlers:
    """Answers questions about data sets.

    Args:
        repository: the models.
        roots: where data may be read.
        index: URI below which indices lie.
        cropped: networks cut at layers, kept between questions.
    """

    def __init__(self, repository: Repository, roots: Roots, index: str, cropped: Cropped) -> None:
        self._repository = repository
        self._roots = roots
        self._index = index
        self._cropped = cropped
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
            wanted = checked_channels(entry, name, question.channels) or tuple(range(layer.channels or 0))
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
            checked_channels(entry, name, (question.channel,))
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

    def _projected(
        self, entry: Entry, question: ProjectExemplarsQuestion
    ) -> Iterator[ProjectHeader | ExemplarUnit | None]:
        # No generator: the index and the data set are opened here, aside, and not in a piece.
        index, dataset, name = self._find(entry, question.layer, question.dataset)
        channels = checked_channels(entry, name, question.channels)
        kept = [e for e in index.exemplars(name, channels) if not question.count or e.place < question.count]
        order = {channel: i for i, channel in enumerate(question.channels)}
        kept.sort(key=lambda e: (order[e.channel], e.place))
        if not kept:
            raise PreconditionError("none of these channels fired on any image of the data set")
        return units(
            entry,
            dataset,
            kept,
            Shown(question.policy, question.render, question.omit_signal, question.omit_patch),
            self._cropped,
        )


def _begin(token: str) -> int:
    if not token:
        return 0
    if not token.isdecimal() or len(token) > 12:
        raise InvalidArgumentError("page_token", "is not the next_page_token of a page; begin without one")
    return int(token)
