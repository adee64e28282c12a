"""Messages to values: listings and headers."""

from __future__ import annotations

from collections.abc import Iterable

from unpool.client import arrays
from unpool.client.listing import (
    Axis,
    Field,
    Layer,
    Model,
    ModelSummary,
    ModelVersion,
    Parity,
    Preprocessing,
    TensorInfo,
)
from unpool.client.results import CaptureHeader, Classification, ClassScore, Geometry, ProjectionHeader, Provenance
from unpool.v1 import (
    input_pb2,
    inspection_pb2,
    inspection_service_pb2,
    model_pb2,
    model_service_pb2,
    policy_pb2,
    tensor_pb2,
)


def model_summaries(response: model_service_pb2.ListModelsResponse) -> tuple[ModelSummary, ...]:
    """The models of a listing."""
    return tuple(
        ModelSummary(
            model.name,
            tuple(ModelVersion(version.version, _state(version.state), version.reason) for version in model.versions),
            model.reason,
        )
        for model in response.models
    )


def model(response: model_service_pb2.GetModelResponse) -> Model:
    """The description of one model."""
    found = response.model
    return Model(
        name=found.name,
        version=found.version,
        digest=found.digest,
        inputs=tuple(_tensor_info(tensor) for tensor in found.inputs),
        outputs=tuple(_tensor_info(tensor) for tensor in found.outputs),
        picture_input=found.picture_input,
        preprocessing=_preprocessing(found.preprocessing) if found.HasField("preprocessing") else None,
        operator_sets=tuple((imported.domain, imported.version) for imported in found.operator_sets),
        operators=tuple((operator.domain, operator.type, operator.count) for operator in found.operators),
        batch=_word(model_pb2.BatchMode.Name(found.batch), "BATCH_MODE_"),
        providers=tuple(found.providers),
        device=found.device,
        label_count=found.label_count,
        policies=tuple(_policy(policy) for policy in found.policies),
        layer_count=found.layer_count,
        parameter_count=found.parameter_count,
        producer=found.producer,
        warnings=tuple(found.warnings),
        parity=Parity(
            state=_word(model_pb2.ParityState.Name(found.parity.state), "PARITY_STATE_"),
            output=found.parity.output,
            difference=found.parity.difference,
            tolerance=found.parity.tolerance,
            borrowed_nodes=tuple(found.parity.borrowed_nodes),
            reason=found.parity.reason,
            inside=found.parity.inside,
        ),
    )


def layer(message: model_pb2.Layer) -> Layer:
    """One layer of a page."""
    return Layer(
        name=message.name,
        alias=message.alias,
        more_aliases=tuple(message.more_aliases),
        node=message.node,
        op=message.op_type,
        dtype=arrays.dtype_name(message.dtype),
        axes=tuple(_axis(axis) for axis in message.axes),
        channels=message.channels or None,
        receptive_field=tuple(
            Field(field.size, field.stride, field.offset, field.whole) for field in message.receptive_field
        ),
        is_output=message.is_output,
        switches=message.switches,
    )


def classification(response: inspection_service_pb2.ClassifyResponse) -> Classification:
    """The strongest classes."""
    return Classification(
        output=response.output,
        classes=tuple(ClassScore(score.index, score.label, score.score) for score in response.classes),
        probability=response.probability,
        provenance=provenance(response.provenance),
        geometry=geometry(response.geometry),
        warnings=tuple(response.warnings),
    )


def capture_header(message: inspection_pb2.CaptureHeader) -> CaptureHeader:
    """The first message of a capture."""
    return CaptureHeader(
        provenance=provenance(message.provenance),
        geometry=geometry(message.geometry),
        layers=tuple(captured.name for captured in message.layers),
        warnings=tuple(message.warnings),
    )


def projection_header(message: inspection_pb2.ProjectHeader) -> ProjectionHeader:
    """The first message of a stream of projections."""
    return ProjectionHeader(
        provenance=provenance(message.provenance),
        geometry=geometry(message.geometry),
        layer=message.layer,
        alias=message.alias,
        shape=tuple(message.shape),
        roles=axis_roles(message.roles),
        policy=_policy(message.policy),
        start=_word(inspection_pb2.Start.Name(message.start), "START_"),
        start_value=message.start_value,
        positions=_word(inspection_pb2.PositionMode.Name(message.position_mode), "POSITION_MODE_"),
        to=message.to,
        to_plane=tuple(message.to_plane),
        to_channels=message.to_channels,
        total=message.total,
        fallbacks=tuple((fallback.node, fallback.op_type) for fallback in message.fallbacks),
        switches=message.switches,
        warnings=tuple(message.warnings),
    )


def axis_roles(roles: Iterable[tensor_pb2.AxisRole]) -> tuple[str, ...]:
    """``batch``, ``channel``, ``spatial`` or ``other`` for each axis."""
    return tuple(_word(tensor_pb2.AxisRole.Name(role), "AXIS_ROLE_") for role in roles)


def _word(name: str, prefix: str) -> str:
    word = name.removeprefix(prefix).lower()
    return "" if word == "unspecified" else word


def _policy(policy: policy_pb2.Policy) -> str:
    return _word(policy_pb2.Policy.Name(policy), "POLICY_")


def _state(state: model_pb2.ModelState) -> str:
    return _word(model_pb2.ModelState.Name(state), "MODEL_STATE_")


def _channel_order(order: input_pb2.ChannelOrder) -> str:
    return _word(input_pb2.ChannelOrder.Name(order), "CHANNEL_ORDER_")


def _axis(axis: tensor_pb2.Axis) -> Axis:
    size = axis.size if axis.WhichOneof("extent") == "size" else axis.symbol
    return Axis(_word(tensor_pb2.AxisRole.Name(axis.role), "AXIS_ROLE_"), size, axis.spatial_index)


def _tensor_info(tensor: tensor_pb2.TensorInfo) -> TensorInfo:
    return TensorInfo(tensor.name, arrays.dtype_name(tensor.dtype), tuple(_axis(axis) for axis in tensor.axes))


def _preprocessing(message: input_pb2.Preprocessing) -> Preprocessing:
    return Preprocessing(message.described, tuple(message.steps), _channel_order(message.channel_order))


def provenance(message: input_pb2.Provenance) -> Provenance:
    """How a result was made."""
    return Provenance(
        model=message.model,
        version=message.version,
        digest=message.digest,
        input_digest=message.input_digest,
        preprocessing=_preprocessing(message.preprocessing) if message.HasField("preprocessing") else None,
        provider=message.provider,
        device=message.device,
        software=dict(message.software),
    )


def geometry(message: input_pb2.InputGeometry) -> Geometry:
    """The geometry of an input."""
    return Geometry(
        input=message.input,
        plane=tuple(message.plane),
        picture=tuple(message.picture),
        scale=tuple(message.scale),
        offset=tuple(message.offset),
        channel_order=_channel_order(message.channel_order),
    )
