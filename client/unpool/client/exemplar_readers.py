"""The messages of answers about data sets to values: shared by both kinds of client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from unpool.client import parsing
from unpool.client.errors import ServerError
from unpool.client.exemplars import (
    Channel,
    ComparedFeature,
    ComparisonInfo,
    EvolutionInfo,
    EvolutionStep,
    Exemplar,
    ExemplarProjection,
    ScanInfo,
    ScanProgress,
    Settling,
    SideInfo,
    SideProgress,
    SkippedRecord,
    VersionProgress,
)
from unpool.client.readers import read_projection
from unpool.client.results import ProjectionHeader
from unpool.v1 import exemplar_pb2, exemplar_service_pb2, tensor_pb2

_PHASES = {exemplar_pb2.SCAN_PHASE_IMAGES: "images", exemplar_pb2.SCAN_PHASE_POSITIONS: "positions"}


class ScanReader:
    """Reads a scan; the summary comes as the last progress, of phase ``done``."""

    def __init__(self) -> None:
        self.header: ScanInfo | None = None
        self._done = False

    @property
    def total(self) -> int:
        return self.header.records if self.header else 0

    def feed(self, response: exemplar_service_pb2.ScanExemplarsResponse) -> list[ScanProgress]:
        kind = response.WhichOneof("message")
        if kind == "header":
            found = response.header
            self.header = replace(scan_info(found.scan), done=found.done, complete=found.complete)
            return []
        if not self.header:
            raise ServerError("the server sent progress before the header")
        if kind == "progress":
            return [_progress(response.progress)]
        self._done = True
        summary = response.summary
        return [
            ScanProgress(
                phase="done",
                done=summary.images,
                total=summary.images,
                skipped_count=summary.skipped_count,
                rate=0.0,
                remaining=0.0,
                skipped=tuple(SkippedRecord(s.index, s.key, s.reason) for s in summary.skipped),
                dead=summary.dead,
                channels=summary.channels,
            )
        ]

    def finish(self) -> None:
        if not self._done:
            raise ServerError("the stream ended before the scan did")


class ExemplarReader:
    """Reads a stream of projected exemplars."""

    def __init__(self) -> None:
        self.header: ProjectionHeader | None = None
        self._seen = 0

    @property
    def total(self) -> int:
        return self.header.total if self.header else 0

    def feed(self, response: exemplar_service_pb2.ProjectExemplarsResponse) -> list[ExemplarProjection]:
        if response.WhichOneof("message") == "header":
            self.header = parsing.projection_header(response.header)
            return []
        if not self.header:
            raise ServerError("the server sent an exemplar before the header")
        self._seen += 1
        return [_projected(response.exemplar, self.header)]

    def finish(self) -> None:
        if not self.header or self._seen != self.header.total:
            raise ServerError(f"the stream ended after {self._seen} of {self.total} exemplars")


class EvolutionReader:
    """Reads an evolution."""

    def __init__(self) -> None:
        self.header: EvolutionInfo | None = None

    @property
    def total(self) -> int:
        return len(self.header.versions) * len(self.header.channels) if self.header else 0

    def feed(
        self, response: exemplar_service_pb2.TraceEvolutionResponse
    ) -> list[EvolutionStep | VersionProgress | Settling]:
        kind = response.WhichOneof("message")
        if kind == "header":
            found = response.header
            self.header = EvolutionInfo(
                found.model,
                tuple(found.versions),
                found.layer,
                found.alias,
                tuple(found.channels),
                found.dataset,
            )
            return []
        if not self.header:
            raise ServerError("the server sent a step before the header")
        if kind == "progress":
            return [VersionProgress(response.progress.version, _progress(response.progress.progress))]
        if kind == "settling":
            settled = response.settling
            return [
                Settling(settled.layer, settled.from_version, settled.to_version, settled.changed, settled.channels)
            ]
        step = response.step
        strongest = None
        if step.HasField("strongest"):
            strongest = _projected(step.strongest, parsing.projection_header(step.header))
        return [EvolutionStep(step.version, step.channel, strongest, step.changed)]

    def finish(self) -> None:
        if not self.header:
            raise ServerError("the stream ended before its header")


class ComparisonReader:
    """Reads a comparison; a feature is given when its last exemplar has come."""

    def __init__(self) -> None:
        self.header: ComparisonInfo | None = None
        self._feature: ComparedFeature | None = None
        self._missing = 0
        self._given = 0

    @property
    def total(self) -> int:
        return len(self.header.sides) * len(self.header.channels) if self.header else 0

    def feed(self, response: exemplar_service_pb2.CompareExemplarsResponse) -> list[ComparedFeature | SideProgress]:
        kind = response.WhichOneof("message")
        if kind == "header":
            found = response.header
            sides = tuple(SideInfo(s.model, s.version, s.digest, s.layer, s.alias, s.channels) for s in found.sides)
            self.header = ComparisonInfo(sides, tuple(found.channels), found.dataset)
            return []
        if not self.header:
            raise ServerError("the server sent a feature before the header")
        if kind == "progress":
            return [SideProgress(response.progress.side, _progress(response.progress.progress))]
        if kind == "feature":
            self._feature = _feature(response.feature, self.header)
            self._missing = response.feature.exemplars
        elif self._feature is None or not self._missing:
            raise ServerError("the server sent an exemplar that belongs to no feature")
        else:
            one = _projected(response.exemplar.exemplar, parsing.projection_header(response.exemplar.header))
            self._feature = replace(self._feature, exemplars=(*self._feature.exemplars, one))
            self._missing -= 1
        if self._missing:
            return []
        self._given += 1
        done = replace(self._feature, exemplars=tuple(sorted(self._feature.exemplars, key=lambda p: p.exemplar.place)))
        return [done]

    def finish(self) -> None:
        if not self.header or self._missing or self._given != self.total:
            raise ServerError(f"the stream ended after {self._given} of {self.total} features")


def _feature(found: exemplar_pb2.ComparedFeature, header: ComparisonInfo) -> ComparedFeature:
    statistics = found.statistics
    return ComparedFeature(
        side=found.side,
        feature=found.feature,
        about=header.sides[found.side],
        channel=found.channel if found.HasField("channel") else None,
        firing_rate=statistics.fired / max(statistics.images, 1),
        maximum=statistics.maximum,
        shared=found.shared,
        exemplars=(),
    )


def scan_info(found: exemplar_pb2.ScanDescription) -> ScanInfo:
    """What a scan is of."""
    return ScanInfo(
        model=found.model,
        version=found.version,
        digest=found.digest,
        dataset=found.dataset,
        fingerprint=found.fingerprint,
        records=found.records,
        layers=tuple(found.layers),
        k=found.k,
        places=found.places,
        preprocessing=tuple(found.preprocessing),
    )


def channels(page: exemplar_service_pb2.ListExemplarsResponse) -> Iterator[Channel]:
    """The channels of a page."""
    for found in page.channels:
        yield Channel(
            layer=page.layer,
            alias=page.alias,
            channel=found.channel,
            images=found.statistics.images,
            fired=found.statistics.fired,
            mean=found.statistics.mean,
            maximum=found.statistics.maximum,
            quantiles=tuple(found.statistics.quantiles),
            exemplars=tuple(exemplar(e) for e in found.exemplars),
        )


def exemplar(found: exemplar_pb2.Exemplar) -> Exemplar:
    """One exemplar."""
    return Exemplar(
        layer=found.layer,
        channel=found.channel,
        place=found.place,
        image=found.image,
        key=found.key,
        label=found.label,
        position=tuple(found.position.index),
        rank_value=found.rank_value,
        activation=found.activation,
        box=_box(found.box),
        plane=tuple(found.plane),
        cut=found.cut,
        picture_box=_box(found.picture_box) if found.HasField("picture_box") else None,
    )


def _projected(found: exemplar_pb2.ProjectedExemplar, header: ProjectionHeader) -> ExemplarProjection:
    own = replace(header, geometry=parsing.geometry(found.geometry), to_plane=tuple(found.exemplar.plane))
    return ExemplarProjection(exemplar(found.exemplar), read_projection(found.projection, own), found.patch)


def _progress(found: exemplar_pb2.ScanProgress) -> ScanProgress:
    return ScanProgress(
        phase=_PHASES.get(found.phase, ""),
        done=found.done,
        total=found.total,
        skipped_count=found.skipped,
        rate=found.rate,
        remaining=found.remaining_seconds,
    )


def _box(box: tensor_pb2.Box) -> tuple[int, ...]:
    return (*box.lower, *box.upper)
