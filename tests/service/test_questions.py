"""The whole way over a real connection; numbers are held against ONNX Runtime and a plain calculation."""

import asyncio
import io
from pathlib import Path

import grpc
import numpy as np
import onnxruntime as ort
from PIL import Image
from tests.service.conftest import Serve
from tests.service.small import encoded, photograph

from unpool.service.settings import ServiceSettings
from unpool.v1 import (
    input_pb2,
    inspection_pb2,
    inspection_service_pb2,
    inspection_service_pb2_grpc,
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    policy_pb2,
    tensor_pb2,
)

SMALL = input_pb2.ModelSpec(name="small")


def picture() -> input_pb2.Input:
    return input_pb2.Input(picture=input_pb2.Picture(encoded=encoded(photograph(40, 60))))


def fed() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """What the described preprocessing makes of the picture, written out."""
    resized = np.asarray(photograph(40, 60).resize((54, 36), Image.Resampling.BILINEAR), np.float32)
    return np.ascontiguousarray((resized[2:34, 11:43, ::-1] / np.float32(127)).transpose(2, 0, 1)[None])


def tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> tensor_pb2.Tensor:
    return tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_FLOAT32, shape=array.shape, data=array.tobytes())


def values(message: tensor_pb2.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.frombuffer(message.data, "<f4").reshape(tuple(message.shape))


async def project(
    channel: grpc.aio.Channel, **request: object
) -> tuple[inspection_pb2.ProjectHeader, list[inspection_pb2.Projection]]:
    stub = inspection_service_pb2_grpc.InspectionServiceStub(channel)
    asked = {"model": SMALL, "input": picture(), **request}
    messages = [m async for m in stub.Project(inspection_service_pb2.ProjectRequest(**asked))]
    assert messages[0].HasField("header")
    assert all(m.batch.projections for m in messages[1:])
    return messages[0].header, [p for m in messages[1:] for p in m.batch.projections]


async def test_models_are_listed_with_their_states(serve: Serve) -> None:
    async with serve(ServiceSettings(port=0, load_at_start=True)) as (_, channel):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        found = await stub.ListModels(model_service_pb2.ListModelsRequest())
        states = {m.name: m.versions[0].state for m in found.models}
        assert states == {
            "bare": model_pb2.MODEL_STATE_LOADED,
            "broken": model_pb2.MODEL_STATE_UNAVAILABLE,
            "pair": model_pb2.MODEL_STATE_LOADED,
            "small": model_pb2.MODEL_STATE_LOADED,
        }
        assert "ONNX" in found.models[1].versions[0].reason


async def test_a_model_is_described(serve: Serve, models: Path) -> None:
    async with serve() as (_, channel):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        model = (await stub.GetModel(model_service_pb2.GetModelRequest(model=SMALL))).model
    import hashlib

    assert model.digest == hashlib.sha256((models / "small/1/model.onnx").read_bytes()).hexdigest()
    assert (model.version, model.picture_input, model.label_count, model.producer) == (1, "image", 5, "by hand")
    assert [(a.role, a.size) for a in model.inputs[0].axes[1:]] == [
        (tensor_pb2.AXIS_ROLE_CHANNEL, 3),
        (tensor_pb2.AXIS_ROLE_SPATIAL, 32),
        (tensor_pb2.AXIS_ROLE_SPATIAL, 32),
    ]
    assert model.inputs[0].axes[0].symbol
    assert model.parameter_count == 8 * 27 + 8 + 12 * 72 + 12 + 5 * 12 + 5
    assert list(model.preprocessing.steps) == [
        "resize the shorter side to 36 (bilinear)",
        "crop the centre to 32 by 32",
        "order the channels BGR",
        "divide by 127",
    ]
    assert model.device == "cpu"
    assert list(model.providers) == ["CPUExecutionProvider"]


async def test_pages_of_layers_add_up_to_all_of_them(serve: Serve) -> None:
    async with serve() as (_, channel):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        whole = await stub.ListLayers(model_service_pb2.ListLayersRequest(model=SMALL))
        pages, token = [], ""
        while True:
            page = await stub.ListLayers(
                model_service_pb2.ListLayersRequest(model=SMALL, page_size=2, page_token=token)
            )
            assert len(page.layers) <= 2
            pages += list(page.layers)
            token = page.next_page_token
            if not token:
                break
    assert pages == list(whole.layers)
    assert len(pages) == whole.total_size
    layers = {layer.name: layer for layer in pages}
    # By hand: conv 3x3, pool 2x2 stride 2, conv 3x3 of what is pooled: 3 + 1 + 2 * 2 wide, 2 apart, from -1 - 2 on.
    (rows, columns) = layers["r2"].receptive_field
    assert (rows.size, rows.stride, rows.offset, rows.whole) == (8, 2.0, -3, False)
    assert rows == columns
    assert layers["r2"].switches == 1
    assert layers["r1"].switches == 0
    assert layers["scores"].is_output
    assert layers["scores"].channels == 5
    assert layers["scores"].receptive_field[0].whole


async def test_classes_equal_onnx_runtimes(serve: Serve, models: Path) -> None:
    scores = ort.InferenceSession(models / "small/1/model.onnx").run(None, {"image": fed()})[0][0]
    order = np.argsort(-scores, kind="stable")[:3]
    async with serve() as (_, channel):
        stub = inspection_service_pb2_grpc.InspectionServiceStub(channel)
        asked = inspection_service_pb2.ClassifyRequest(model=SMALL, input=picture(), top_k=3)
        answer = await stub.Classify(asked)
        asked.probability = True
        likely = await stub.Classify(asked)
    assert [c.index for c in answer.classes] == order.tolist()
    assert [c.label for c in answer.classes] == [["ant", "bee", "cat", "dog", "emu"][i] for i in order]
    np.testing.assert_allclose([c.score for c in answer.classes], scores[order], rtol=1e-4)
    softmax = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    np.testing.assert_allclose([c.score for c in likely.classes], softmax[order], rtol=1e-4)
    assert (answer.probability, likely.probability) == (False, True)
    assert answer.output == "scores"


async def test_captures_come_in_chunks_and_equal_onnx_runtimes(serve: Serve, models: Path) -> None:
    import onnx

    exposed = onnx.load(models / "small/1/model.onnx")
    exposed.graph.output.extend([onnx.helper.make_empty_tensor_value_info("r1")])
    wanted = ort.InferenceSession(exposed.SerializeToString()).run(["r1", "scores"], {"image": fed()})
    big = np.tile(fed(), (1, 1, 1, 1))
    async with serve() as (_, channel):
        stub = inspection_service_pb2_grpc.InspectionServiceStub(channel)
        asked = inspection_service_pb2.CaptureRequest(
            model=SMALL, input=input_pb2.Input(tensor=tensor(big)), layers=["r1", "scores"], chunk_bytes=1
        )
        messages = [m async for m in stub.Capture(asked)]
    header = messages[0].header
    assert [(layer.name, list(layer.shape)) for layer in header.layers] == [("r1", [1, 8, 32, 32]), ("scores", [1, 5])]
    chunks = [m.chunk for m in messages[1:]]
    # The smallest chunk is 64 KiB: whoever asks for less gets that.
    assert max(len(c.data) for c in chunks) <= 64 << 10
    for i, expected in enumerate(wanted):
        own = [c for c in chunks if c.layer == i]
        assert [c.index for c in own] == list(range(len(own)))
        assert [c.last for c in own] == [False] * (len(own) - 1) + [True]
        data = b"".join(c.data for c in own)
        assert len(data) == header.layers[i].byte_size
        np.testing.assert_allclose(np.frombuffer(data, "<f4").reshape(expected.shape), expected, rtol=1e-4, atol=1e-6)


async def test_a_class_projects_by_the_gradient_policy_to_the_derivative_of_its_score(
    serve: Serve, models: Path
) -> None:
    async with serve() as (_, channel):
        header, (found,) = await project(
            channel,
            layer="scores",
            channels=[2],
            policy=policy_pb2.POLICY_GRADIENT,
            input=input_pb2.Input(tensor=tensor(fed())),
        )
    signal = values(found.signal)
    assert signal.shape == (3, 32, 32)
    session = ort.InferenceSession(models / "small/1/model.onnx")
    rng = np.random.default_rng(0)
    for _ in range(5):
        direction = rng.normal(size=(1, 3, 32, 32)).astype(np.float32)
        step = 1e-3
        up, down = (session.run(None, {"image": fed() + s * direction})[0][0, 2] for s in (step, -step))
        np.testing.assert_allclose(
            (float(up) - float(down)) / (2 * step), float((signal * direction[0]).sum()), rtol=0.02, atol=2e-3
        )
    assert header.start == inspection_pb2.START_ONE
    assert not header.geometry.picture
    assert header.geometry.channel_order == input_pb2.CHANNEL_ORDER_UNSPECIFIED
    assert not found.HasField("picture_box")


async def test_projections_of_a_picture_are_given_in_the_pictures_colours_and_pixels(serve: Serve) -> None:
    async with serve() as (_, channel):
        header, found = await project(channel, layer="r2", top=4)
        _, raw = await project(channel, layer="r2", top=4, input=input_pb2.Input(tensor=tensor(fed())))
    assert header.total == len(found) == 4
    assert [p.completed for p in found] == [1, 2, 3, 4]
    assert header.policy == policy_pb2.POLICY_DECONVNET
    assert header.position_mode == inspection_pb2.POSITION_MODE_MAX
    assert header.provenance.software["torch"]
    assert header.geometry.channel_order == input_pb2.CHANNEL_ORDER_RGB
    assert list(header.geometry.picture) == [40, 60]
    assert header.switches == 1
    raw_by_index = {p.index: p for p in raw}
    for one in found:
        twin = raw_by_index[one.index]
        np.testing.assert_array_equal(values(one.signal), values(twin.signal)[::-1])
        lower, upper = np.array(one.box.lower), np.array(one.box.upper)
        place = np.array(one.position.index)
        np.testing.assert_array_equal(lower, np.clip(place * 2 - 3, 0, 32))
        np.testing.assert_array_equal(upper, np.clip(place * 2 + 5, 0, 32))
        # 40x60 becomes 36x54 and is cropped from row 2, column 11 on.
        np.testing.assert_array_equal(one.picture_box.lower, np.floor((lower + np.array([2, 11])) * 10 / 9 + 1e-9))
        np.testing.assert_array_equal(one.picture_box.upper, np.ceil((upper + np.array([2, 11])) * 10 / 9 - 1e-9))
        assert one.activation > 0
        assert one.start_value == one.activation
        assert one.all_zero == (not values(one.signal).any())


async def test_drawings_come_on_request_and_signals_can_be_left_out(serve: Serve) -> None:
    async with serve() as (_, channel):
        _, (plain,) = await project(channel, layer="r2", top=1)
        _, (drawn,) = await project(
            channel, layer="r2", top=1, omit_signal=True, render=inspection_pb2.RenderOptions(zoom=2)
        )
    assert not plain.png
    assert not drawn.HasField("signal")
    signal = values(plain.signal)
    image = Image.open(io.BytesIO(drawn.png))
    assert (image.height, image.width) == (2 * signal.shape[1], 2 * signal.shape[2])
    np.testing.assert_allclose(drawn.png_magnitude, np.abs(signal).max(), rtol=1e-6)
    levels = 128 + np.rint(127 * signal / np.abs(signal).max())
    assert np.abs(np.asarray(image)[::2, ::2].transpose(2, 0, 1) - levels).max() <= 1


async def test_a_bare_model_answers_with_a_warning(serve: Serve) -> None:
    async with serve() as (_, channel):
        header, _ = await project(channel, model=input_pb2.ModelSpec(name="bare"), layer="r1", top=1)
    assert any("does not describe" in warning for warning in header.warnings)
    assert not header.provenance.preprocessing.described


async def test_several_inputs_are_fed_by_name_and_one_is_looked_at(serve: Serve) -> None:
    rng = np.random.default_rng(2)
    named = [
        input_pb2.NamedTensor(name=n, tensor=tensor(rng.normal(size=(1, 3, 8, 8)).astype(np.float32)))
        for n in ("left", "right")
    ]
    shown = input_pb2.Input(tensors=input_pb2.NamedTensors(tensors=named, of="right"))
    async with serve() as (_, channel):
        header, found = await project(
            channel, model=input_pb2.ModelSpec(name="pair"), input=shown, layer="out", channels=[0, 3]
        )
    assert header.to == header.geometry.input == "right"
    assert {p.channel for p in found} == {0, 3}


async def test_a_request_has_an_id_in_the_answer(serve: Serve) -> None:
    async with serve() as (_, channel):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        for sent in ("my-id 7", None, "x" * 200):
            call = stub.ListModels(
                model_service_pb2.ListModelsRequest(), metadata=(("x-request-id", sent),) if sent else None
            )
            await call
            told = dict(await call.initial_metadata())["x-request-id"]
            assert told == sent if sent == "my-id 7" else len(told) == 32


async def test_the_same_question_gets_the_same_bytes_over_tcp_and_over_a_unix_socket(
    serve: Serve, tmp_path: Path
) -> None:
    answers = []
    for settings in (ServiceSettings(port=0), ServiceSettings(uds=str(tmp_path / "s"))):
        async with serve(settings) as (_, channel):
            header, found = await project(channel, layer="r2", top=3, render=inspection_pb2.RenderOptions())
            answers.append([m.SerializeToString(deterministic=True) for m in (header, *found)])
    assert answers[0] == answers[1]


async def test_callers_at_once_each_get_their_own(serve: Serve) -> None:
    async with serve() as (_, channel):
        alone = {i: (await project(channel, layer="r2", channels=[i]))[1][0] for i in range(6)}
        together = await asyncio.gather(*(project(channel, layer="r2", channels=[i]) for i in range(6)))
    for i, (_, (found,)) in enumerate(together):
        assert found == alone[i]
