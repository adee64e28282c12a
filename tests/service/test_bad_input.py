"""Everything a caller can get wrong, over a real connection: the code, the field, and never a stack trace."""

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from tests.service.conftest import Serve
from tests.service.small import encoded, photograph

from unpool.repository.repository import Repository
from unpool.service.scheduler import SchedulerSettings
from unpool.service.settings import ServiceSettings
from unpool.v1 import (
    inspection_service_pb2,
    inspection_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    occlusion_pb2,
)

PICTURE = {"picture": {"encoded": encoded(photograph())}}
FLOAT32, INT32, FLOAT64 = 1, 7, 2
CODES = grpc.StatusCode


def tensor(*shape: int, fill: float = 0.0, dtype: int = FLOAT32) -> dict[str, object]:
    kind = {FLOAT32: "<f4", INT32: "<i4", FLOAT64: "<f8"}[dtype]
    return {"dtype": dtype, "shape": shape, "data": np.full(shape, fill, kind).tobytes()}


def project(**changed: object) -> Message:
    asked = {"model": {"name": "small"}, "input": PICTURE, "layer": "r2", "top": 1}
    asked.update(changed)
    return inspection_service_pb2.ProjectRequest(**{k: v for k, v in asked.items() if v is not None})


def capture(**changed: object) -> Message:
    asked = {"model": {"name": "small"}, "input": PICTURE, "layers": ["r2"]}
    asked.update(changed)
    return inspection_service_pb2.CaptureRequest(**{k: v for k, v in asked.items() if v is not None})


def classify(**changed: object) -> Message:
    asked = {"model": {"name": "small"}, "input": PICTURE}
    asked.update(changed)
    return inspection_service_pb2.ClassifyRequest(**{k: v for k, v in asked.items() if v is not None})


def occlusion(**changed: object) -> Message:
    asked = {"model": {"name": "small"}, "input": PICTURE, "window": [8]}
    asked.update(changed)
    return occlusion_pb2.OccludeRequest(**{k: v for k, v in asked.items() if v is not None})


def layers(**changed: object) -> Message:
    return model_service_pb2.ListLayersRequest(**({"model": {"name": "small"}} | changed))


def model(**spec: object) -> Message:
    return model_service_pb2.GetModelRequest(model=spec)


async def ask(channel: grpc.aio.Channel, request: Message) -> None:
    """Sends a request to the method that takes it, and reads all that comes."""
    name = type(request).__name__.removesuffix("Request")
    stubs = [
        inspection_service_pb2_grpc.InspectionServiceStub(channel),
        model_service_pb2_grpc.ModelServiceStub(channel),
    ]
    call = next(getattr(stub, name) for stub in stubs if hasattr(stub, name))(request)
    if hasattr(call, "__aiter__"):
        async for _ in call:
            pass
    else:
        await call


def details(status: status_pb2.Status) -> dict[str, Message]:
    found: dict[str, Message] = {}
    for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
        for packed in status.details:
            message = kind()
            if packed.Unpack(message):
                found[kind.__name__] = message
    return found


INVALID = [
    # Which model, and what it is shown.
    (project(model=None), "model.name"),
    (project(model={"name": ""}), "model.name"),
    (project(model={"name": "small", "version": -1}), "model.version"),
    (project(input=None), "input"),
    (project(input={}), "input"),
    (project(input=PICTURE | {"tensor": tensor(1, 3, 32, 32)}), "input.tensor"),
    (project(input={"tensor": tensor(1, 3, 32, 32), "tensors": {}}), "input.tensors"),
    # Pictures.
    (project(input={"picture": {}}), "input.picture.encoded"),
    (classify(input={"picture": {"encoded": b"no picture"}}), "input.picture.encoded"),
    (classify(input={"picture": {"encoded": encoded(photograph())[:-99]}}), "input.picture.encoded"),
    (classify(input={"picture": {"encoded": encoded(photograph(300, 200))}}), "input.picture.encoded"),
    # Tensors.
    (classify(input={"tensor": {}}), "input.tensor.dtype"),
    (classify(input={"tensor": tensor(1, 3, 32, 32) | {"dtype": 99}}), "input.tensor.dtype"),
    (classify(input={"tensor": tensor(1, 3, 32, 32) | {"dtype": 14}}), "input.tensor.dtype"),
    (classify(input={"tensor": tensor(1, 3, 32, 32) | {"shape": [1, 3, 32, -32]}}), "input.tensor.shape"),
    (classify(input={"tensor": tensor(1, 3, 32, 32) | {"shape": [1] * 40}}), "input.tensor.shape"),
    (classify(input={"tensor": tensor(1, 3, 32, 32) | {"shape": [1, 3, 32, 33]}}), "input.tensor.data"),
    (classify(input={"tensor": tensor(1, 3, 32, 32) | {"shape": [2**62, 2**62, 2**62]}}), "input.tensor.data"),
    (classify(input={"tensor": tensor(1, 3, 31, 32)}), "input.tensor"),
    (classify(input={"tensor": tensor(3, 32, 32)}), "input.tensor"),
    (classify(input={"tensor": tensor(2, 3, 32, 32)}), "input.tensor"),
    (classify(input={"tensor": tensor(0, 3, 32, 32)}), "input.tensor"),
    (classify(input={"tensor": tensor(1, 3, 32, 32, dtype=INT32)}), "input.tensor"),
    (classify(input={"tensor": tensor(1, 3, 32, 32, dtype=FLOAT64)}), "input.tensor"),
    (classify(input={"tensor": tensor(1, 3, 32, 32, fill=np.nan)}), "input.tensor"),
    (classify(input={"tensor": tensor(1, 3, 32, 32, fill=np.inf)}), "input.tensor"),
    (project(model={"name": "pair"}, input={"tensor": tensor(1, 3, 8, 8)}), "input.tensor"),
    # Tensors by name.
    (classify(input={"tensors": {}}), "input.tensors.tensors"),
    (classify(input={"tensors": {"tensors": [{"tensor": tensor(1)}]}}), "input.tensors.tensors[0].name"),
    (
        classify(input={"tensors": {"tensors": [{"name": "image", "tensor": tensor(1)}] * 2}}),
        "input.tensors.tensors[1].name",
    ),
    (classify(input={"tensors": {"tensors": [{"name": "other", "tensor": tensor(1)}]}}), "input.tensors.tensors"),
    (classify(input={"tensors": {"tensors": [{"name": "image", "tensor": tensor(1)}]}}), "input.tensors.tensors"),
    (
        classify(input={"tensors": {"tensors": [{"name": "image", "tensor": tensor(1, 3, 32, 32)}], "of": "x"}}),
        "input.tensors.of",
    ),
    (
        project(
            model={"name": "pair"},
            input={"tensors": {"tensors": [{"name": n, "tensor": tensor(1, 3, 8, 8)} for n in ("left", "right")]}},
        ),
        "input.tensors.of",
    ),
    # Classes and captures.
    (classify(top_k=-1), "top_k"),
    (capture(layers=[]), "layers"),
    (capture(layers=["r1", ""]), "layers[1]"),
    (capture(layers=["r1", "r1"]), "layers[1]"),
    (capture(chunk_bytes=-5), "chunk_bytes"),
    # Projections.
    (inspection_service_pb2.ProjectRequest(), "layer"),
    (project(layer=""), "layer"),
    (project(top=None), "channels"),
    (project(channels=[1]), "channels"),
    (project(top=-3), "top"),
    (project(policy=77), "policy"),
    (project(start=77), "start"),
    (project(start_value=1.0), "start_value"),
    (project(start=3, start_value=float("nan")), "start_value"),
    (project(position_mode=77), "position_mode"),
    (project(position_mode=3), "positions"),
    (project(positions=[{"index": [0, 0]}]), "positions"),
    (project(position_mode=3, positions=[{"index": [0]}]), "positions[0]"),
    (project(render={"gain": -1}), "render.gain"),
    (project(render={"magnitude": float("inf")}), "render.magnitude"),
    (project(render={"zoom": 17}), "render.zoom"),
    (project(render={}, to="p1"), "render"),
    # Occlusions.
    (occlusion(input=None), "input"),
    (occlusion(inputs=[PICTURE]), "inputs"),
    (occlusion(input=None, inputs=[PICTURE, {}]), "inputs[1]"),
    (occlusion(input=None, inputs=[PICTURE] * 65), "inputs"),
    (occlusion(input=None, inputs=[PICTURE, {"tensor": tensor(1, 3, 31, 32)}]), "inputs[1].tensor"),
    (occlusion(input=None, inputs=[PICTURE, {"picture": {"encoded": b"no"}}]), "inputs[1].picture.encoded"),
    (occlusion(input=None, inputs=[PICTURE] * 2, window=[33]), "window"),
    (occlusion(window=[]), "window"),
    (occlusion(window=[0]), "window"),
    (occlusion(stride=[0]), "stride"),
    (occlusion(stride=[1], positions=[{"index": [0, 0]}]), "stride"),
    (occlusion(targets=[{}]), "targets[0]"),
    (occlusion(targets=[{"index": 1, "output": "score"}]), "targets[0].output"),
    (occlusion(fill={}), "fill"),
    (occlusion(fill={"blur": -1.0}), "fill.blur"),
    (occlusion(fill={"tensor": tensor(5, 5)}), "fill"),
    (occlusion(projection=True), "projection"),
    # Listings.
    (layers(page_size=-1), "page_size"),
    (layers(page_token="nonsense"), "page_token"),
    (layers(page_token="WzFd"), "page_token"),
]


@pytest.mark.parametrize(("request_", "field"), INVALID, ids=[f"{i}-{field}" for i, (_, field) in enumerate(INVALID)])
async def test_what_can_never_be_right_is_refused_with_its_field(serve: Serve, request_: Message, field: str) -> None:
    async with serve(ServiceSettings(port=0, pixels=50_000)) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, request_)
    assert caught.value.code() is CODES.INVALID_ARGUMENT, caught.value.details()
    found = details(rpc_status.from_call(caught.value))
    assert found["BadRequest"].field_violations[0].field == field
    assert found["ErrorInfo"].domain == "unpool"
    assert "Traceback" not in str(caught.value.trailing_metadata())


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (model(name="smal"), CODES.NOT_FOUND, "did you mean small"),
        (model(name="small", version=9), CODES.NOT_FOUND, "small/9"),
        (model(name="../small"), CODES.NOT_FOUND, "no model"),
        (layers(of="imgae"), CODES.NOT_FOUND, "image"),
        (project(layer="r3"), CODES.NOT_FOUND, "did you mean"),
        (project(to="w9"), CODES.NOT_FOUND, "w9"),
        (capture(layers=["r1", "rr2"]), CODES.NOT_FOUND, "r2"),
        (classify(output="score"), CODES.NOT_FOUND, "scores"),
        (project(top=None, channels=[0, 12]), CODES.OUT_OF_RANGE, "0 to 11"),
        (project(top=None, channels=[-1]), CODES.OUT_OF_RANGE, "0 to 11"),
        (project(layer="scores", top=None, channels=[5]), CODES.OUT_OF_RANGE, "0 to 4"),
        (project(position_mode=3, positions=[{"index": [0, 16]}]), CODES.OUT_OF_RANGE, "16"),
        (model(name="broken"), CODES.FAILED_PRECONDITION, "unavailable"),
        (classify(model={"name": "broken"}), CODES.FAILED_PRECONDITION, "unavailable"),
        (classify(model={"name": "pair"}), CODES.FAILED_PRECONDITION, "takes no pictures"),
        (project(layer="r1", to="r2"), CODES.FAILED_PRECONDITION, "r2"),
    ],
)
async def test_what_this_model_cannot_answer_has_its_own_code(
    serve: Serve, request_: Message, code: grpc.StatusCode, words: str
) -> None:
    async with serve() as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError, match=words) as caught:
            await ask(channel, request_)
        # The server goes on.
        await ask(channel, classify())
    assert caught.value.code() is code
    found = details(rpc_status.from_call(caught.value))
    assert ("BadRequest" in found) == (code is CODES.OUT_OF_RANGE)


async def test_a_page_of_another_model_is_refused(serve: Serve) -> None:
    async with serve() as (_, channel):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        page = await stub.ListLayers(layers(page_size=1))
        with pytest.raises(grpc.aio.AioRpcError, match="page_token"):
            await stub.ListLayers(layers(model={"name": "bare"}, page_token=page.next_page_token))


async def test_a_message_beyond_the_limit_is_refused_and_says_the_limit(serve: Serve) -> None:
    async with serve(ServiceSettings(port=0, max_message_bytes=1 << 20)) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError, match="1048576") as caught:
            await ask(channel, classify(input={"picture": {"encoded": b"x" * (1 << 20)}}))
        assert caught.value.code() is CODES.RESOURCE_EXHAUSTED
        await ask(channel, classify())


async def test_bytes_that_are_no_message_end_the_call_and_nothing_else(serve: Serve) -> None:
    async with serve() as (_, channel):
        call = channel.unary_unary("/unpool.v1.InspectionService/Classify")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\xff\xff\xff")
        assert "Traceback" not in str(caught.value)
        await ask(channel, classify())


async def test_too_much_at_once_is_refused_with_when_to_try_again(serve: Serve) -> None:
    limits = SchedulerSettings(admitted=1, results=1, retry_seconds=2.0)
    async with serve(ServiceSettings(port=0, scheduler=limits)) as (server, channel):
        stub = inspection_service_pb2_grpc.InspectionServiceStub(channel)
        stream = stub.Project(project(top=12, position_mode=2))
        await stream.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, classify())
        assert caught.value.code() is CODES.RESOURCE_EXHAUSTED
        found = details(rpc_status.from_call(caught.value))
        assert found["RetryInfo"].retry_delay.ToTimedelta().total_seconds() == 2.0
        stream.cancel()
        await server.scheduler.idle()
        await ask(channel, classify())


async def test_what_nobody_foresaw_tells_a_reference_and_the_log_has_the_stack(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def burn(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret of the house")

    monkeypatch.setattr(Repository, "lend", burn)
    async with serve() as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, classify())
    assert caught.value.code() is CODES.INTERNAL
    told = str(caught.value) + str(caught.value.trailing_metadata())
    assert "secret" not in told
    assert "ZeroDivision" not in told
    reference = details(rpc_status.from_call(caught.value))["ErrorInfo"].metadata["reference"]
    assert reference in caught.value.details()
    (record,) = [r for r in caplog.records if r.message == "internal error"]
    assert vars(record)["request_id"] == reference
    assert record.exc_info is not None
    assert "secret of the house" in str(record.exc_info[1])
