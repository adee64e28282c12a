"""Answers about one example into messages."""

from __future__ import annotations

from unpool.methods.requests import Start
from unpool.repository import Preprocessing
from unpool.service.answers import (
    CaptureChunk,
    CapturedLayer,
    CaptureHeader,
    ClassifyAnswer,
    InputGeometry,
    ProjectedUnit,
    ProjectedUnits,
    ProjectHeader,
    Provenance,
)
from unpool.service.wire_types import (
    CHANNEL_ORDERS,
    POLICY_NUMBERS,
    POSITION_MODE_NUMBERS,
    ROLES,
    START_NUMBERS,
    dtype_number,
    fill_tensor,
)
from unpool.v1 import input_pb2, inspection_pb2, inspection_service_pb2, tensor_pb2


def write_preprocessing(found: Preprocessing) -> input_pb2.Preprocessing:
    """How pictures become an input."""
    return input_pb2.Preprocessing(
        described=found.described, steps=found.steps, channel_order=CHANNEL_ORDERS[found.order]
    )


def write_provenance(found: Provenance) -> input_pb2.Provenance:
    """How a result was made."""
    return input_pb2.Provenance(
        model=found.model,
        version=found.version,
        digest=found.digest,
        input_digest=found.input_digest,
        preprocessing=write_preprocessing(found.preprocessing) if found.preprocessing is not None else None,
        provider=found.provider,
        device=found.device,
        software=found.software,
    )


def write_geometry(found: InputGeometry) -> input_pb2.InputGeometry:
    """The geometry of the looked-at input."""
    message = input_pb2.InputGeometry(input=found.input, plane=found.plane, channel_order=CHANNEL_ORDERS[found.order])
    if found.placement is not None:
        message.picture.extend(found.placement.picture)
        message.scale.extend(found.placement.scale)
        message.offset.extend(found.placement.offset)
    return message


def write_classify(answer: ClassifyAnswer) -> inspection_service_pb2.ClassifyResponse:
    """The strongest classes."""
    return inspection_service_pb2.ClassifyResponse(
        provenance=write_provenance(answer.provenance),
        geometry=write_geometry(answer.geometry),
        output=answer.output,
        classes=[
            inspection_pb2.ClassScore(index=c.score.index, label=c.label, score=c.score.score) for c in answer.classes
        ],
        probability=answer.probability,
        warnings=answer.warnings,
    )


def write_capture(answer: CaptureHeader | CaptureChunk) -> inspection_service_pb2.CaptureResponse:
    """One message of a capture."""
    if isinstance(answer, CaptureChunk):
        return inspection_service_pb2.CaptureResponse(
            chunk=inspection_pb2.CaptureChunk(
                layer=answer.layer, index=answer.index, byte_offset=answer.offset, data=answer.data, last=answer.last
            )
        )
    return inspection_service_pb2.CaptureResponse(
        header=inspection_pb2.CaptureHeader(
            provenance=write_provenance(answer.provenance),
            geometry=write_geometry(answer.geometry),
            layers=[_captured(layer) for layer in answer.layers],
            warnings=answer.warnings,
        )
    )


def write_project(answer: ProjectHeader | ProjectedUnits) -> inspection_service_pb2.ProjectResponse:
    """One message of a stream of projections."""
    if isinstance(answer, ProjectHeader):
        return inspection_service_pb2.ProjectResponse(header=write_project_header(answer))
    batch = inspection_pb2.ProjectionBatch(projections=[write_projection(unit) for unit in answer.units])
    return inspection_service_pb2.ProjectResponse(batch=batch)


def _captured(layer: CapturedLayer) -> inspection_pb2.CapturedLayer:
    return inspection_pb2.CapturedLayer(
        name=layer.name,
        alias=layer.alias,
        dtype=dtype_number(layer.dtype),
        shape=layer.shape,
        roles=[ROLES[axis.kind] for axis in layer.axes],
        byte_size=layer.size,
    )


def write_project_header(answer: ProjectHeader) -> inspection_pb2.ProjectHeader:
    """What holds for all projections of a stream."""
    request, header = answer.request, answer.header
    positions = request.positions
    return inspection_pb2.ProjectHeader(
        provenance=write_provenance(answer.provenance),
        geometry=write_geometry(answer.geometry),
        layer=header.layer,
        alias=header.alias,
        shape=header.shape,
        roles=[ROLES[axis.kind] for axis in answer.axes],
        policy=POLICY_NUMBERS[header.policy],
        start=START_NUMBERS[header.start],
        start_value=request.start_value if header.start is Start.VALUE else 0.0,
        position_mode=inspection_pb2.POSITION_MODE_EXPLICIT
        if isinstance(positions, tuple)
        else POSITION_MODE_NUMBERS[positions],
        to=header.to,
        to_plane=header.plane,
        to_channels=header.sink_channels,
        total=header.total,
        fallbacks=[inspection_pb2.FallbackNode(node=f.node, op_type=f.op_type) for f in header.fallbacks],
        switches=header.switches,
        warnings=answer.warnings,
    )


def write_projection(answer: ProjectedUnit) -> inspection_pb2.Projection:
    """One projection."""
    found = answer.projection
    message = inspection_pb2.Projection(
        index=found.index,
        layer=answer.layer,
        channel=found.channel,
        channel_label=answer.label,
        activation=found.activation,
        rank_value=found.rank_value,
        start_value=found.start,
        start_not_positive=found.start_not_positive,
        all_zero=answer.all_zero,
        png=answer.png,
        png_magnitude=answer.magnitude,
        completed=answer.completed,
    )
    if found.standing is not None:
        message.standing = found.standing
    if found.position:
        message.position.index.extend(found.position)
    if found.lower:
        message.box.CopyFrom(tensor_pb2.Box(lower=found.lower, upper=found.upper))
    if answer.picture_box is not None:
        lower, upper = answer.picture_box
        message.picture_box.CopyFrom(tensor_pb2.Box(lower=lower, upper=upper))
    if answer.signal is not None:
        fill_tensor(message.signal, answer.signal)
    return message
