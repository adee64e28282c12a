"""Answers about data sets into messages."""

from __future__ import annotations

from dataclasses import asdict

from unpool.exemplars import ChannelStatistics, Description, Exemplar, ScanDone, ScanHeader, ScanProgress
from unpool.exemplars.evolution import Settling
from unpool.service.answers import ProjectHeader
from unpool.service.exemplar_questions import (
    CompareAnswer,
    ComparedExemplar,
    ComparedFeature,
    CompareHeader,
    EvolutionAnswer,
    EvolutionHeader,
    EvolutionStep,
    ExemplarsPage,
    ExemplarUnit,
    PatchAnswer,
    SideProgress,
    VersionProgress,
)
from unpool.service.writing import write_geometry, write_project_header, write_projection
from unpool.v1 import exemplar_pb2, exemplar_service_pb2, tensor_pb2

_SKIPPED = 100
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def write_scan(answer: ScanHeader | ScanProgress | ScanDone) -> exemplar_service_pb2.ScanExemplarsResponse:
    """One message of a scan."""
    match answer:
        case ScanHeader():
            header = exemplar_pb2.ScanHeader(
                scan=_description(answer.description), done=answer.done, complete=answer.complete
            )
            return exemplar_service_pb2.ScanExemplarsResponse(header=header)
        case ScanProgress():
            return exemplar_service_pb2.ScanExemplarsResponse(progress=_progress(answer))
    summary = exemplar_pb2.ScanSummary(
        images=answer.images,
        skipped_count=len(answer.skipped),
        skipped=[
            exemplar_pb2.SkippedRecord(index=s.index, key=s.key, reason=s.reason) for s in answer.skipped[:_SKIPPED]
        ],
        dead=answer.dead,
        channels=answer.channels,
    )
    return exemplar_service_pb2.ScanExemplarsResponse(summary=summary)


def write_list(page: ExemplarsPage) -> exemplar_service_pb2.ListExemplarsResponse:
    """A page of channels."""
    return exemplar_service_pb2.ListExemplarsResponse(
        scan=_description(page.scan),
        layer=page.layer,
        alias=page.alias,
        channels=[
            exemplar_pb2.ChannelExemplars(
                channel=channel.statistics.channel,
                statistics=_statistics(channel.statistics),
                exemplars=[_exemplar(e) for e in channel.exemplars],
            )
            for channel in page.channels
        ],
        next_page_token=page.next_token,
    )


def write_patch(answer: PatchAnswer) -> exemplar_service_pb2.GetPatchResponse:
    """A patch."""
    return exemplar_service_pb2.GetPatchResponse(exemplar=_exemplar(answer.exemplar), png=answer.png)


def write_project(answer: ProjectHeader | ExemplarUnit) -> exemplar_service_pb2.ProjectExemplarsResponse:
    """One message of a stream of projected exemplars."""
    if isinstance(answer, ProjectHeader):
        return exemplar_service_pb2.ProjectExemplarsResponse(header=write_project_header(answer))
    return exemplar_service_pb2.ProjectExemplarsResponse(exemplar=_projected(answer))


def write_evolution(answer: EvolutionAnswer) -> exemplar_service_pb2.TraceEvolutionResponse:
    """One message of an evolution."""
    match answer:
        case EvolutionHeader():
            header = exemplar_pb2.EvolutionHeader(
                model=answer.model,
                versions=answer.versions,
                layer=answer.layer,
                alias=answer.alias,
                channels=answer.channels,
                dataset=answer.dataset,
            )
            return exemplar_service_pb2.TraceEvolutionResponse(header=header)
        case VersionProgress():
            progress = exemplar_pb2.EvolutionProgress(version=answer.version, progress=_progress(answer.progress))
            return exemplar_service_pb2.TraceEvolutionResponse(progress=progress)
        case EvolutionStep():
            step = exemplar_pb2.EvolutionStep(
                version=answer.version,
                channel=answer.channel,
                strongest=None if answer.unit is None else _projected(answer.unit),
                header=None if answer.header is None else write_project_header(answer.header),
                changed=answer.changed,
            )
            return exemplar_service_pb2.TraceEvolutionResponse(step=step)
        case Settling():
            settled = exemplar_pb2.LayerSettling(
                layer=answer.layer,
                from_version=answer.earlier,
                to_version=answer.later,
                changed=answer.changed,
                channels=answer.channels,
            )
            return exemplar_service_pb2.TraceEvolutionResponse(settling=settled)


def write_compare(answer: CompareAnswer) -> exemplar_service_pb2.CompareExemplarsResponse:
    """One message of a comparison."""
    match answer:
        case CompareHeader():
            header = exemplar_pb2.CompareHeader(
                sides=[exemplar_pb2.SideDescription(**asdict(side)) for side in answer.sides],
                channels=answer.channels,
                dataset=answer.dataset,
            )
            return exemplar_service_pb2.CompareExemplarsResponse(header=header)
        case SideProgress():
            progress = exemplar_pb2.CompareProgress(side=answer.side, progress=_progress(answer.progress))
            return exemplar_service_pb2.CompareExemplarsResponse(progress=progress)
        case ComparedFeature():
            feature = exemplar_pb2.ComparedFeature(
                side=answer.side,
                feature=answer.feature,
                channel=answer.channel,
                statistics=None if answer.statistics is None else _statistics(answer.statistics),
                exemplars=answer.exemplars,
                shared=answer.shared,
            )
            return exemplar_service_pb2.CompareExemplarsResponse(feature=feature)
        case ComparedExemplar():
            exemplar = exemplar_pb2.ComparedExemplar(
                side=answer.side,
                feature=answer.feature,
                exemplar=_projected(answer.unit),
                header=write_project_header(answer.header),
            )
            return exemplar_service_pb2.CompareExemplarsResponse(exemplar=exemplar)


def _description(found: Description) -> exemplar_pb2.ScanDescription:
    return exemplar_pb2.ScanDescription(
        model=found.model,
        version=found.version,
        digest=found.digest,
        dataset=found.dataset,
        fingerprint=found.fingerprint,
        records=found.records,
        layers=found.layers,
        k=found.k,
        places=found.places,
        preprocessing=found.preprocessing,
    )


def _progress(found: ScanProgress) -> exemplar_pb2.ScanProgress:
    return exemplar_pb2.ScanProgress(
        phase=exemplar_pb2.SCAN_PHASE_POSITIONS if found.locating else exemplar_pb2.SCAN_PHASE_IMAGES,
        done=found.done,
        total=found.total,
        skipped=found.skipped,
        rate=found.rate,
        remaining_seconds=found.remaining,
    )


def _statistics(found: ChannelStatistics) -> exemplar_pb2.ChannelStatistics:
    return exemplar_pb2.ChannelStatistics(
        images=found.images,
        fired=found.fired,
        mean=found.mean,
        maximum=found.maximum,
        quantiles=[found.quantile(q) for q in QUANTILES],
    )


def _exemplar(found: Exemplar) -> exemplar_pb2.Exemplar:
    message = exemplar_pb2.Exemplar(
        layer=found.layer,
        channel=found.channel,
        place=found.place,
        image=found.image,
        key=found.key,
        label=found.label,
        rank_value=found.rank_value,
        activation=found.activation,
        plane=found.plane,
        cut=found.cut,
    )
    if found.position:
        message.position.index.extend(found.position)
    if found.plane:
        message.box.CopyFrom(tensor_pb2.Box(lower=found.box[0], upper=found.box[1]))
    if found.picture_box is not None:
        message.picture_box.CopyFrom(tensor_pb2.Box(lower=found.picture_box[0], upper=found.picture_box[1]))
    return message


def _projected(answer: ExemplarUnit) -> exemplar_pb2.ProjectedExemplar:
    return exemplar_pb2.ProjectedExemplar(
        exemplar=_exemplar(answer.exemplar),
        geometry=write_geometry(answer.geometry),
        projection=write_projection(answer.unit),
        patch=answer.patch,
    )
