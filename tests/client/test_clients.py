"""Both clients against a running gRPC server: what goes out, what comes back, how it ends."""

from __future__ import annotations

import asyncio
import gc
import threading

import grpc
import numpy as np
import pytest
from tests.client.fake_server import CAPTURED, LAYER_COUNT, FakeServer

from unpool.client import (
    AsyncClient,
    BusyError,
    CancelledError,
    Client,
    DeadlineError,
    NotFoundError,
    OutOfRangeError,
    PreconditionError,
    ServerError,
    UnavailableError,
)

PIXELS = np.zeros((20, 24, 3), dtype=np.uint8)


def test_models_come_with_state_and_reason(server: FakeServer) -> None:
    with Client(server.target, metadata={"authorization": "Bearer x"}) as client:
        (model,) = client.models()
    assert (model.name, model.state) == ("net", "loaded")
    assert [(version.version, version.state) for version in model.versions] == [(1, "unavailable"), (2, "loaded")]
    assert "node /x" in model.versions[0].reason
    assert server.models.metadata["authorization"] == "Bearer x"


def test_layers_run_over_all_pages_of_one_version(server: FakeServer) -> None:
    with Client(server.target) as client:
        layers = list(client.layers("net"))
    assert [layer.alias for layer in layers] == [f"conv{number}" for number in range(LAYER_COUNT)]
    assert layers[4].shape == ("N", 8, 5)
    assert layers[4].receptive_field[0].size == 7


def test_an_unknown_model_names_the_nearest(server: FakeServer) -> None:
    with Client(server.target) as client, pytest.raises(NotFoundError, match="did you mean net, nets") as caught:
        client.model("met")
    assert caught.value.nearest == ("net", "nets")
    assert caught.value.code is grpc.StatusCode.NOT_FOUND


def test_classes_come_strongest_first_with_labels(server: FakeServer) -> None:
    with Client(server.target) as client:
        found = client.classify("net", PIXELS, top=3, probability=True)
    assert [(score.index, score.label) for score in found.classes] == [(281, "cat 0"), (282, "cat 1"), (283, "cat 2")]
    assert found.probability
    assert found.warnings == ("assumed RGB",)


def test_a_busy_server_says_when_to_try_again(server: FakeServer) -> None:
    with Client(server.target) as client, pytest.raises(BusyError, match=r"try again in 1\.5 s") as caught:
        client.classify("net", PIXELS, output="busy")
    assert caught.value.retry_after == 1.5


def test_a_timeout_ends_the_call(server: FakeServer) -> None:
    with Client(server.target, timeout=0.2) as client, pytest.raises(DeadlineError):
        client.classify("net", PIXELS, output="slow")
    assert server.inspection.cancelled.wait(5)


def test_captured_tensors_are_put_together_from_their_pieces(server: FakeServer) -> None:
    with Client(server.target) as client:
        stream = client.capture("net", tensor=np.zeros((1, 2), np.float32), layers=["empty", "full", "empty"])
        assert stream.header.layers == ("empty", "full", "empty")
        found = list(stream)
    assert [activation.values.shape for activation in found] == [(1, 0, 4), (1, 2, 3, 4), (1, 0, 4)]
    assert np.array_equal(found[1].values, CAPTURED)


def test_projections_come_with_header_place_and_signal(server: FakeServer) -> None:
    with Client(server.target) as client:
        stream = client.project("net", PIXELS, layer="conv1", channels=[3, 5], policy="guided")
        assert stream.header.policy == "guided"
        assert stream.total == 2
        found = {projection.channel: projection for projection in stream}
        assert stream.completed == 2
    third = found[3]
    assert (third.name, third.layer, third.position, third.box) == ("conv1", "tensor/relu", (3, 3), (3, 3, 5, 6))
    assert third.picture_box == (6, 6, 10, 12)
    assert np.array_equal(third.signal, np.arange(18, dtype=np.float32).reshape(3, 2, 3) + 4)


def test_the_full_signal_is_the_box_in_its_place_and_zero_elsewhere(server: FakeServer) -> None:
    with Client(server.target) as client:
        (found,) = client.project("net", PIXELS, layer="conv1", channels=7)
    whole = found.full()
    assert whole.shape == (3, 10, 12)
    assert whole.dtype == np.float32
    assert np.array_equal(whole[:, 7:9, 7:10], found.signal)
    assert whole.sum() == found.signal.sum()


def test_a_projection_shows_itself_as_a_png(server: FakeServer) -> None:
    with Client(server.target) as client:
        (found,) = client.project("net", PIXELS, layer="conv1", channels=[0])
        (bare,) = client.project("net", PIXELS, layer="conv1", channels=[0], signals=False)
    assert found.image(zoom=4).size == (12, 8)
    assert found.image(whole=True).size == (12, 10)
    assert (found._repr_png_() or b"").startswith(b"\x89PNG")
    assert bare._repr_png_() is None
    with pytest.raises(ValueError, match="left signals out"):
        bare.full()


def test_a_wrong_channel_names_field_and_range(server: FakeServer) -> None:
    with Client(server.target) as client, pytest.raises(OutOfRangeError, match="0 to 7") as caught:
        list(client.project("net", PIXELS, layer="conv1", channels=[999]))
    assert caught.value.field == "channels[0]"


def test_an_obstacle_names_the_node(server: FakeServer) -> None:
    with Client(server.target) as client, pytest.raises(PreconditionError, match="/block/Cast") as caught:
        _ = client.project("net", PIXELS, layer="nowhere").header
    assert caught.value.node == "/block/Cast"


def test_a_stream_that_ends_early_is_an_error(server: FakeServer) -> None:
    with Client(server.target) as client, pytest.raises(ServerError, match="1 of 2"):
        list(client.project("net", PIXELS, layer="truncated", channels=[1, 2]))


def test_closing_a_stream_cancels_the_call(server: FakeServer) -> None:
    with Client(server.target) as client:
        with client.project("net", PIXELS, layer="endless") as stream:
            assert next(stream).channel == 0
        assert server.inspection.cancelled.wait(5)
        assert list(stream) == []


def test_dropping_a_stream_cancels_the_call(server: FakeServer) -> None:
    with Client(server.target) as client:
        stream = client.project("net", PIXELS, layer="endless")
        next(stream)
        del stream
        gc.collect()
        assert server.inspection.cancelled.wait(5)


def test_a_stream_keeps_its_client(server: FakeServer) -> None:
    assert len(list(Client(server.target).project("net", PIXELS, layer="conv1", top=4))) == 4


def test_a_closed_stream_has_no_header_to_wait_for(server: FakeServer) -> None:
    with Client(server.target) as client:
        stream = client.project("net", PIXELS, layer="endless")
        stream.close()
        with pytest.raises(CancelledError):
            _ = stream.header


def test_no_server_is_said_with_its_address() -> None:
    with Client("127.0.0.1:9") as client, pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
        client.models()


def test_one_client_serves_several_threads(server: FakeServer) -> None:
    counts: list[int] = []

    def ask() -> None:
        counts.append(len(list(client.project("net", PIXELS, layer="conv1", top=5))))

    with Client(server.target) as client:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert counts == [5] * 4


async def test_the_asynchronous_client_gives_the_same_answers(server: FakeServer) -> None:
    with Client(server.target) as client:
        models, layers = client.models(), list(client.layers("net"))
        classes = client.classify("net", PIXELS)
        signals = [projection.signal for projection in client.project("net", PIXELS, layer="conv1")]
        sent = server.last_request
    async with AsyncClient(server.target) as asynchronous:
        assert await asynchronous.models() == models
        assert [layer async for layer in asynchronous.layers("net")] == layers
        assert await asynchronous.classify("net", PIXELS) == classes
        stream = asynchronous.project("net", PIXELS, layer="conv1")
        assert (await stream.header()).alias == "conv1"
        assert await stream.total() == 9
        found = [projection.signal async for projection in stream]
        assert server.last_request == sent
        assert [signal.tobytes() for signal in found] == [signal.tobytes() for signal in signals]
        captured = [item async for item in asynchronous.capture("net", PIXELS, layers="full")]
        assert np.array_equal(captured[0].values, CAPTURED)


async def test_asynchronous_errors_carry_the_same_details(server: FakeServer) -> None:
    async with AsyncClient(server.target) as client:
        with pytest.raises(NotFoundError, match="net, nets"):
            await client.model("met")
        with pytest.raises(PreconditionError, match="/block/Cast"):
            await client.project("net", PIXELS, layer="nowhere").header()
        with pytest.raises(FileNotFoundError):
            await client.classify("net", "nowhere.png")


async def test_an_asynchronous_stream_is_cancelled_by_close_and_by_dropping(server: FakeServer) -> None:
    async with AsyncClient(server.target) as client:
        async with client.project("net", PIXELS, layer="endless") as stream:
            await anext(stream)
        assert await asyncio.to_thread(server.inspection.cancelled.wait, 5)
        assert [item async for item in stream] == []
        dropped = client.project("net", PIXELS, layer="endless")
        await anext(dropped)
        assert not server.inspection.cancelled.is_set()
        del dropped
        gc.collect()
        assert await asyncio.to_thread(server.inspection.cancelled.wait, 5)


async def test_closing_from_another_task_ends_the_iteration(server: FakeServer) -> None:
    async with AsyncClient(server.target) as client:
        stream = client.project("net", PIXELS, layer="endless")

        async def drain() -> int:
            return len([item async for item in stream])

        task = asyncio.create_task(drain())
        while stream.completed < 5:
            await asyncio.sleep(0.01)
        await stream.close()
        assert await asyncio.wait_for(task, 5) >= 5


async def test_cancelling_the_task_cancels_the_call(server: FakeServer) -> None:
    async with AsyncClient(server.target) as client:
        stream = client.project("net", PIXELS, layer="endless")

        async def drain() -> None:
            async for _ in stream:
                pass

        task = asyncio.create_task(drain())
        while stream.completed < 5:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.inspection.cancelled.wait, 5)
