"""Handlers of questions over several models or versions: how features came to be, and the same ones side by side.

Each model is loaded aside, when its turn comes, and given back when the next is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

from unpool.exemplars import (
    ChannelStatistics,
    DataSet,
    Exemplar,
    Roots,
    ScanHeader,
    ScanIndex,
    ScanProgress,
    ScanRequest,
    Store,
    open_dataset,
    scan,
)
from unpool.exemplars.comparing import images, most_alike
from unpool.exemplars.cropping import Cropped
from unpool.exemplars.evolution import changes, settling, strongest
from unpool.exemplars.finding import find_scan
from unpool.graph.errors import NotFoundError, PreconditionError
from unpool.repository import Entry, Repository, State
from unpool.service.answers import ProjectHeader
from unpool.service.elsewhere import Elsewhere
from unpool.service.exemplar_questions import (
    CompareAnswer,
    ComparedExemplar,
    ComparedFeature,
    CompareHeader,
    CompareQuestion,
    EvolutionAnswer,
    EvolutionHeader,
    EvolutionQuestion,
    EvolutionStep,
    ExemplarUnit,
    Side,
    SideProgress,
    VersionProgress,
)
from unpool.service.exemplar_units import Shown, checked_channels, units
from unpool.service.held import Held
from unpool.service.scheduler import Pieces

P = TypeVar("P")
Step = Elsewhere[object] | None


class SeriesHandlers:
    """Answers questions over several models or versions.

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

    def evolution(self, question: EvolutionQuestion) -> Pieces[EvolutionAnswer]:
        """An evolution: a header, then version by version."""
        versions = self._versions(question)
        dataset = open_dataset(question.dataset, self._roots)
        return Held(self._evolved(question, versions, dataset), None)

    def compare(self, question: CompareQuestion) -> Pieces[CompareAnswer]:
        """A comparison: a header, then side by side.

        Every model is loaded once here, so that what is wrong with the last is told before the first is scanned.
        """
        dataset = open_dataset(question.dataset, self._roots)
        sides = []
        for i, asked in enumerate(question.sides):
            with self._repository.lend(asked.model.name, asked.model.version) as entry:
                layer = entry.engine.model.layers.find(asked.layer)
                checked_channels(entry, layer.name, asked.channels, f"sides[{i}].channels")
                digest = entry.engine.model.digest
                sides.append(Side(entry.name, entry.version, digest, layer.name, layer.alias, layer.channels or 0))
        return Held(self._compared(question, tuple(sides), dataset), None)

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
    ) -> Iterator[EvolutionAnswer | Step]:
        before: tuple[int, dict[int, Exemplar]] | None = None
        shown = Shown(question.policy, omit_signal=question.omit_signal)
        for version in versions:
            with ExitStack() as stack:
                loading = self._lending(stack, question.model, version)
                yield loading
                entry = loading.result()
                layer = entry.engine.model.layers.find(question.layer)
                checked_channels(entry, layer.name, question.channels)
                if before is None:
                    yield EvolutionHeader(
                        question.model, versions, layer.name, layer.alias, question.channels, dataset.uri
                    )
                index = yield from self._scanned(entry, layer.name, dataset, partial(VersionProgress, version))
                found = strongest(index.exemplars(layer.name))
                chosen = [found[channel] for channel in question.channels if channel in found]
                projected: dict[int, ExemplarUnit] = {}
                header: ProjectHeader | None = None
                for unit in units(entry, dataset, chosen, shown, self._cropped) if chosen else ():
                    if isinstance(unit, ExemplarUnit):
                        projected[unit.exemplar.channel] = unit
                    elif unit is not None:
                        header = unit
                    yield None
                earlier = before[1] if before is not None else None
                for channel in question.channels:
                    changed = earlier is not None and changes(earlier.get(channel), found.get(channel))
                    one = projected.get(channel)
                    yield EvolutionStep(version, channel, one, header if one is not None else None, changed)
                if before is not None:
                    yield settling(layer.name, layer.channels or 0, before, (version, found))
                before = (version, found)

    def _compared(
        self, question: CompareQuestion, sides: tuple[Side, ...], dataset: DataSet
    ) -> Iterator[CompareAnswer | Step]:
        wanted = question.sides[0].channels
        yield CompareHeader(sides, wanted, dataset.uri)
        shown = Shown(question.policy, omit_signal=question.omit_signal)
        firsts: list[frozenset[int]] = []
        for number, side in enumerate(sides):
            with ExitStack() as stack:
                loading = self._lending(stack, side.model, side.version)
                yield loading
                entry = loading.result()
                index = yield from self._scanned(entry, side.layer, dataset, partial(SideProgress, number))
                seen = images(index.exemplars(side.layer))
                if not number:
                    firsts = [seen.get(channel, frozenset()) for channel in wanted]
                channels: tuple[int | None, ...] = question.sides[number].channels
                if not channels:
                    channels = tuple(most_alike(first, seen) for first in firsts)
                known = sorted({channel for channel in channels if channel is not None})
                statistics = {s.channel: s for s in index.statistics(side.layer, known)} if known else {}
                kept = [
                    e
                    for e in (index.exemplars(side.layer, known) if known else ())
                    if not question.count or e.place < question.count
                ]
                for feature, channel in enumerate(channels):
                    chosen = [e for e in kept if e.channel == channel]
                    shared = len(firsts[feature] & seen.get(channel, frozenset())) if channel is not None else 0
                    about: ChannelStatistics | None = statistics[channel] if channel is not None else None
                    yield ComparedFeature(number, feature, channel, about, len(chosen), shared)
                    header: ProjectHeader | None = None
                    for unit in units(entry, dataset, chosen, shown, self._cropped) if chosen else ():
                        if isinstance(unit, ExemplarUnit):
                            assert header is not None
                            yield ComparedExemplar(number, feature, unit, header)
                            continue
                        header = header if unit is None else unit
                        yield None

    def _lending(self, stack: ExitStack, name: str, version: int) -> Elsewhere[Entry]:
        """Loads a model aside; the stack gives it back."""
        return Elsewhere(lambda: stack.enter_context(self._repository.lend(name, version)))

    def _scanned(
        self, entry: Entry, layer: str, dataset: DataSet, told: Callable[[ScanProgress], P]
    ) -> Generator[P | None, None, ScanIndex]:
        """The scan of a layer, which is made where there is none; ``told`` makes answers of its progress."""
        store = Store(self._index)
        try:
            return find_scan(store, entry, layer, dataset.uri, lambda _: dataset)[0]
        except PreconditionError:
            index: ScanIndex | None = None
            for item in scan(entry, dataset, ScanRequest((layer,)), store):
                if isinstance(item, ScanHeader):
                    index = ScanIndex(store, item.description)
                yield told(item) if isinstance(item, ScanProgress) else None
            assert index is not None
            return index
