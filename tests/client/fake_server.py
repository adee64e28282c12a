"""A gRPC server without an engine: it answers from the request alone, so that what travelled can be checked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures

import grpc
import numpy as np
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from unpool.v1 import (
    input_pb2,
    inspection_pb2,
    inspection_service_pb2,
    inspection_service_pb2_grpc,
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    tensor_pb2,
)

LAYER_COUNT = 7
CAPTURED = np.arange(2 * 3 * 4, dtype=np.float32).reshape(1, 2, 3, 4)


def abort(context: grpc.ServicerContext, code: grpc.StatusCode, message: str, *details: object) -> None:
    packed = []
    for detail in details:
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)  # type: ignore[arg-type]
        packed.append(wrapped)
    status = status_pb2.Status(code=code.value[0], message=message, details=packed)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, message)


def batch(*projections: inspection_pb2.Projection) -> inspection_service_pb2.ProjectResponse:
    return inspection_service_pb2.ProjectResponse(batch=inspection_pb2.ProjectionBatch(projections=projections))


def projection(index: int, channel: int, plane: tuple[int, int], png: bytes = b"") -> inspection_pb2.Projection:
    """Channel c is a 2 x 3 box at (c mod (rows - 2), c mod (columns - 3)), whose values start at c + 1."""
    top, left = channel % (plane[0] - 2), channel % (plane[1] - 3)
    values = (np.arange(3 * 2 * 3, dtype="<f4") + channel + 1).reshape(3, 2, 3)
    return inspection_pb2.Projection(
        index=index,
        layer="tensor/relu",
        channel=channel,
        position=tensor_pb2.Position(index=[top, left]),
        activation=channel + 0.5,
        rank_value=channel + 0.5,
        start_value=channel + 0.5,
        box=tensor_pb2.Box(lower=[top, left], upper=[top + 2, left + 3]),
        picture_box=tensor_pb2.Box(lower=[2 * top, 2 * left], upper=[2 * top + 4, 2 * left + 6]),
        signal=tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_FLOAT32, shape=[3, 2, 3], data=values.tobytes()),
        png=png,
        completed=index + 1,
    )


class Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}

    def ListModels(self, request, context):  # type: ignore[no-untyped-def]
        self.metadata = {item.key: item.value for item in context.invocation_metadata()}
        loaded = model_pb2.ModelVersion(version=2, state=model_pb2.MODEL_STATE_LOADED)
        broken = model_pb2.ModelVersion(version=1, state=model_pb2.MODEL_STATE_UNAVAILABLE, reason="node /x: no rule")
        return model_service_pb2.ListModelsResponse(
            models=[model_pb2.ModelSummary(name="net", versions=[broken, loaded])]
        )

    def GetModel(self, request, context):  # type: ignore[no-untyped-def]
        if request.model.name != "net":
            info = error_details_pb2.ErrorInfo(domain="unpool", metadata={"nearest": "net, nets"})
            abort(context, grpc.StatusCode.NOT_FOUND, f"no model '{request.model.name}'", info)
        return model_service_pb2.GetModelResponse(model=model_pb2.Model(name="net", version=request.model.version or 2))

    def ListLayers(self, request, context):  # type: ignore[no-untyped-def]
        start = int(request.page_token or 0)
        if start and request.model.version != 2:
            abort(context, grpc.StatusCode.INVALID_ARGUMENT, "a token of another version")
        layers = [
            model_pb2.Layer(
                name=f"tensor/{number}",
                alias="" if request.model.name == "unnamed" else f"conv{number}",
                op_type="Relu",
                dtype=tensor_pb2.DATA_TYPE_FLOAT32,
                axes=[
                    tensor_pb2.Axis(role=tensor_pb2.AXIS_ROLE_BATCH, symbol="N"),
                    tensor_pb2.Axis(role=tensor_pb2.AXIS_ROLE_CHANNEL, size=8),
                    tensor_pb2.Axis(role=tensor_pb2.AXIS_ROLE_SPATIAL, size=5),
                ],
                channels=8,
                receptive_field=[model_pb2.AxisField(size=3 + number, stride=2, offset=-1)],
            )
            for number in range(start, min(start + 3, LAYER_COUNT))
        ]
        token = str(start + 3) if start + 3 < LAYER_COUNT else ""
        return model_service_pb2.ListLayersResponse(
            layers=layers, next_page_token=token, total_size=LAYER_COUNT, version=2
        )


class Inspection(inspection_service_pb2_grpc.InspectionServiceServicer):
    def __init__(self) -> None:
        self.requests: list[object] = []
        self.cancelled = threading.Event()

    def Classify(self, request, context):  # type: ignore[no-untyped-def]
        self.requests.append(request)
        if request.output == "busy":
            retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000))
            abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests", retry)
        if request.output == "slow":
            self.cancelled.clear()
            context.add_callback(self.cancelled.set)
            self.cancelled.wait(10)
        classes = [
            inspection_pb2.ClassScore(index=281 + k, label=f"cat {k}", score=0.5 / (k + 1))
            for k in range(request.top_k)
        ]
        return inspection_service_pb2.ClassifyResponse(
            output="logits", classes=classes, probability=request.probability, warnings=["assumed RGB"]
        )

    def Capture(self, request, context) -> Iterator[inspection_service_pb2.CaptureResponse]:  # type: ignore[no-untyped-def]
        self.requests.append(request)
        shapes = {"full": CAPTURED.shape, "empty": (1, 0, 4)}
        header = inspection_pb2.CaptureHeader(
            layers=[
                inspection_pb2.CapturedLayer(
                    name=name,
                    dtype=tensor_pb2.DATA_TYPE_FLOAT32,
                    shape=shapes[name],
                    byte_size=4 * int(np.prod(shapes[name])),
                )
                for name in request.layers
            ]
        )
        yield inspection_service_pb2.CaptureResponse(header=header)
        data = CAPTURED.astype("<f4").tobytes()
        for number, name in enumerate(request.layers):
            for index, offset in enumerate(range(0, len(data) if name == "full" else 0, 40)):
                piece = data[offset : offset + 40]
                yield inspection_service_pb2.CaptureResponse(
                    chunk=inspection_pb2.CaptureChunk(
                        layer=number,
                        index=index,
                        byte_offset=offset,
                        data=piece,
                        last=offset + 40 >= len(data),
                    )
                )

    def Project(self, request, context) -> Iterator[inspection_service_pb2.ProjectResponse]:  # type: ignore[no-untyped-def]
        self.requests.append(request)
        if request.layer == "nowhere":
            info = error_details_pb2.ErrorInfo(domain="unpool", metadata={"node": "/block/Cast"})
            abort(context, grpc.StatusCode.FAILED_PRECONDITION, "the input does not reach this layer", info)
        channels = list(request.channels) or list(range(request.top))
        if 999 in channels:
            violation = error_details_pb2.BadRequest.FieldViolation(field="channels[0]", description="0 to 7")
            bad = error_details_pb2.BadRequest(field_violations=[violation])
            abort(context, grpc.StatusCode.OUT_OF_RANGE, "the layer has channels 0 to 7", bad)
        endless = request.layer == "endless"
        self.cancelled.clear()
        context.add_callback(self.cancelled.set)
        plane = (10, 12)
        geometry = input_pb2.InputGeometry(
            input="x",
            plane=plane,
            picture=[20, 24],
            scale=[2, 2],
            offset=[0, 0],
            channel_order=input_pb2.CHANNEL_ORDER_RGB,
        )
        header = inspection_pb2.ProjectHeader(
            geometry=geometry,
            provenance=input_pb2.Provenance(model="net", version=2, software={"unpool": "0"}),
            layer="tensor/relu",
            alias=request.layer,
            policy=request.policy,
            start=request.start,
            position_mode=request.position_mode,
            to="x",
            to_plane=plane,
            to_channels=3,
            total=10**6 if endless else len(channels),
            warnings=["no switches are crossed"] if request.policy == 1 else [],
        )
        yield inspection_service_pb2.ProjectResponse(header=header)
        if endless:
            index = 0
            while not self.cancelled.is_set():
                yield inspection_service_pb2.ProjectResponse(
                    batch=inspection_pb2.ProjectionBatch(projections=[projection(index, index % 8, plane)])
                )
                index += 1
            return
        # The last first: results come as they are ready.
        for index in reversed(range(len(channels))):
            message = projection(index, channels[index], plane)
            if request.omit_signal:
                message.ClearField("signal")
            if index or request.layer != "truncated":
                yield inspection_service_pb2.ProjectResponse(
                    batch=inspection_pb2.ProjectionBatch(projections=[message])
                )


class FakeServer:
    """Runs on a loopback port of its own until ``stop``."""

    def __init__(self) -> None:
        self.models, self.inspection = Models(), Inspection()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 64 << 20)]
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self.models, self._server)
        inspection_service_pb2_grpc.add_InspectionServiceServicer_to_server(self.inspection, self._server)
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    @property
    def last_request(self) -> object:
        return self.inspection.requests[-1]

    def stop(self) -> None:
        self._server.stop(None).wait()
