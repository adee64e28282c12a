"""How calls end: by their own end, by the caller's wish or silence, by a deadline, by the server's end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterable, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.service.conftest import Serve
from tests.service.small import encoded, photograph
from tests.service.test_bad_input import classify, project

from unpool.engine.settings import EngineSettings
from unpool.graph.errors import InvalidArgumentError
from unpool.repository import Repository
from unpool.service.binding import address
from unpool.service.settings import ServiceSettings
from unpool.v1 import inspection_pb2, inspection_service_pb2_grpc, model_service_pb2, model_service_pb2_grpc

LONG = project(top=12, position_mode=2, render=inspection_pb2.RenderOptions())  # each drawn: one by one
SERVICES = ("unpool.v1.ModelService", "unpool.v1.InspectionService")


async def read_slowly(stream: AsyncIterable[object]) -> None:
    """Reads so slowly that a deadline comes before the end."""
    async for _ in stream:
        await asyncio.sleep(0.01)


class Watched(Repository):
    """A repository that counts what is lent."""

    lent = 0

    def _borrow(self, name: str, version: int | None):  # type: ignore[no-untyped-def]
        found = super()._borrow(name, version)
        self.lent += 1
        return found

    def _give_back(self, slot) -> None:  # type: ignore[no-untyped-def]
        self.lent -= 1
        super()._give_back(slot)


@pytest.fixture
def repository(models: Path) -> Watched:
    return Watched(models, engine_settings=EngineSettings(device="cpu", threads=2))


async def test_a_cancelled_stream_leaves_no_work_and_nothing_lent(serve: Serve, repository: Watched) -> None:
    async with serve(repository=repository) as (server, channel):
        stream = inspection_service_pb2_grpc.InspectionServiceStub(channel).Project(LONG)
        for _ in range(3):
            await stream.read()
        assert (repository.lent, server.scheduler.admitted) == (1, 1)
        stream.cancel()
        await asyncio.wait_for(server.scheduler.idle(), 2.0)
        assert repository.lent == 0


async def test_a_deadline_ends_the_work(serve: Serve, repository: Watched) -> None:
    async with serve(repository=repository) as (server, channel):
        stub = inspection_service_pb2_grpc.InspectionServiceStub(channel)
        await stub.Classify(classify())
        stream = stub.Project(LONG, timeout=0.3)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_slowly(stream)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(server.scheduler.idle(), 2.0)
        assert repository.lent == 0


async def test_a_call_without_a_deadline_has_the_servers(serve: Serve) -> None:
    async with serve(ServiceSettings(port=0, longest_seconds=0.3)) as (server, channel):
        stream = inspection_service_pb2_grpc.InspectionServiceStub(channel).Project(LONG)
        with pytest.raises(grpc.aio.AioRpcError, match="deadline") as caught:
            await read_slowly(stream)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(server.scheduler.idle(), 2.0)


async def test_a_client_killed_in_the_middle_leaves_nothing_behind(serve: Serve, repository: Watched) -> None:
    reader = """
import sys, grpc
from unpool.v1 import inspection_pb2, inspection_service_pb2, inspection_service_pb2_grpc
channel = grpc.insecure_channel(sys.argv[1])
request = inspection_service_pb2.ProjectRequest.FromString(bytes.fromhex(sys.stdin.read()))
stream = inspection_service_pb2_grpc.InspectionServiceStub(channel).Project(request)
next(stream); next(stream)
print("reading", flush=True)
import time; time.sleep(60)
"""
    async with serve(repository=repository) as (server, channel):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", reader, server.address, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdin is not None
        assert child.stdout is not None
        # Enough that the connection's own buffers fill up before it is all sent.
        child.stdin.write(project(top=12, position_mode=2, render={"zoom": 16}).SerializeToString().hex().encode())
        child.stdin.write_eof()
        assert await asyncio.wait_for(child.stdout.readline(), 20) == b"reading\n"
        assert repository.lent == 1
        # Somebody else is served meanwhile.
        await inspection_service_pb2_grpc.InspectionServiceStub(channel).Classify(classify())
        child.kill()
        await child.wait()
        await asyncio.wait_for(server.scheduler.idle(), 3.0)
        assert repository.lent == 0


async def test_health_tells_of_every_service(serve: Serve) -> None:
    async with serve() as (_, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", *SERVICES):
            found = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert found.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="other"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_client_that_knows_only_reflection_lists_models_and_projects(serve: Serve) -> None:
    async with serve() as (_, channel):
        pool = descriptor_pool.DescriptorPool()
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)

        async def reflect(**asked: str) -> reflection_pb2.ServerReflectionResponse:
            async for response in stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**asked)])):
                return response
            raise AssertionError("no answer")

        listed = await reflect(list_services="")
        assert set(SERVICES) <= {s.name for s in listed.list_services_response.service}

        async def learn(**asked: str) -> None:
            for data in (await reflect(**asked)).file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(data)
                for dependency in file.dependency:
                    await learn(file_by_filename=dependency)
                pool.Add(file)

        for name in SERVICES:
            await learn(file_containing_symbol=name)

        def method(name: str):  # type: ignore[no-untyped-def]
            found = pool.FindMethodByName(name)
            path = f"/{found.containing_service.full_name}/{found.name}"
            request, response = (message_factory.GetMessageClass(t) for t in (found.input_type, found.output_type))
            kind = channel.unary_stream if found.server_streaming else channel.unary_unary
            call = kind(path, request_serializer=request.SerializeToString, response_deserializer=response.FromString)
            return lambda **fields: call(request(**fields))

        models = await method("unpool.v1.ModelService.ListModels")()
        assert "small" in {m.name for m in models.models}
        stream = method("unpool.v1.InspectionService.Project")(
            model={"name": "small"}, input={"picture": {"encoded": encoded(photograph())}}, layer="r2", top=2
        )
        messages = [m async for m in stream]
        assert messages[0].header.total == 2
        projections = [p for m in messages[1:] for p in m.batch.projections]
        assert len(projections) == 2
        assert len(projections[0].signal.data) > 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_others_can_reach_it_only_when_told_so(host: str) -> None:
    with pytest.raises(InvalidArgumentError, match="--insecure"):
        address(ServiceSettings(host=host))
    assert host in address(ServiceSettings(host=host, insecure=True))


def test_a_socket_needs_a_folder_and_a_short_path(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="no folder"):
        address(ServiceSettings(uds="/nowhere/socket"))
    with pytest.raises(InvalidArgumentError, match="longer than"):
        address(ServiceSettings(uds=str(tmp_path / ("s" * 120))))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.9.1"])
def test_loopback_is_free(host: str) -> None:
    assert host in address(ServiceSettings(host=host))


async def test_two_servers_do_not_share_a_port(serve: Serve) -> None:
    async with serve() as (server, _):
        taken = int(server.address.rsplit(":", 1)[1])
        with pytest.raises(InvalidArgumentError, match="cannot be bound"):
            async with serve(ServiceSettings(port=taken)):
                pass


class Process:
    """``unpool serve`` as a child process."""

    def __init__(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> None:
        command = [sys.executable, "-m", "unpool.service", "--device", "cpu", "--log-format", "json", *arguments]
        self.child = subprocess.Popen(command, stdin=stdin, stderr=subprocess.PIPE, text=True)
        self.log: list[dict[str, str]] = []

    def until(self, event: str) -> dict[str, str]:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.log.append(json.loads(line))
            if self.log[-1]["event"] == event:
                return self.log[-1]
        raise AssertionError(f"no {event}: {self.log}")

    def rest(self) -> int:
        assert self.child.stderr is not None
        self.log += [json.loads(line) for line in self.child.stderr]
        return self.child.wait(20)


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    found: list[Process] = []
    yield found
    for process in found:
        process.child.kill()
        process.child.wait()
        for pipe in (process.child.stderr, process.child.stdin):
            if pipe is not None:
                pipe.close()


async def test_sigterm_lets_running_calls_end_and_takes_no_new_ones(models: Path, processes: list[Process]) -> None:
    process = Process("--models", str(models), "--port", "0")
    processes.append(process)
    target = process.until("ready")["address"]
    async with grpc.aio.insecure_channel(target) as channel, grpc.aio.insecure_channel(target) as late:
        stream = inspection_service_pb2_grpc.InspectionServiceStub(channel).Project(LONG)
        messages = aiter(stream)
        header = (await anext(messages)).header
        os.kill(process.child.pid, signal.SIGTERM)
        await asyncio.to_thread(process.until, "draining")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await model_service_pb2_grpc.ModelServiceStub(late).ListModels(
                model_service_pb2.ListModelsRequest(), timeout=2
            )
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        count = len([m async for m in messages])
        assert count == header.total == 12 * 16 * 16  # drawn, so one in each message
    assert await asyncio.to_thread(process.rest) == 0
    (call,) = [line for line in process.log if line["event"] == "call"]
    assert (call["method"], call["code"], call["sent"]) == ("Project", "OK", 1 + count)


async def test_a_second_signal_does_not_wait(models: Path, processes: list[Process]) -> None:
    process = Process("--models", str(models), "--port", "0")
    processes.append(process)
    target = process.until("ready")["address"]
    async with grpc.aio.insecure_channel(target) as channel:
        # Nobody reads: without the second signal this call would hold the server for all of its grace.
        stream = inspection_service_pb2_grpc.InspectionServiceStub(channel).Project(
            project(top=12, position_mode=2, render={"zoom": 16})
        )
        await stream.read()
        begin = time.monotonic()
        os.kill(process.child.pid, signal.SIGINT)
        await asyncio.to_thread(process.until, "draining")
        os.kill(process.child.pid, signal.SIGINT)
        assert await asyncio.to_thread(process.rest) == 0
        assert time.monotonic() - begin < 8


def test_it_ends_with_its_parent(models: Path, tmp_path: Path, processes: list[Process]) -> None:
    socket = tmp_path / "socket"
    process = Process("--models", str(models), "--uds", str(socket), "--exit-on-stdin-eof", stdin=subprocess.PIPE)
    processes.append(process)
    process.until("ready")
    assert socket.stat().st_mode & 0o777 == 0o600
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        model_service_pb2_grpc.ModelServiceStub(channel).ListModels(model_service_pb2.ListModelsRequest(), timeout=5)
    assert process.child.stdin is not None
    process.child.stdin.close()
    assert process.rest() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--host", "0.0.0.0"], "--insecure"), (["--device", "tpu"], "device")],
)
def test_what_it_cannot_do_is_said_in_one_line(
    models: Path, processes: list[Process], arguments: list[str], words: str
) -> None:
    process = Process("--models", str(models), *arguments)
    processes.append(process)
    assert process.rest() == 1
    (line,) = process.log
    assert words in line["reason"]


def test_without_the_extra_it_says_what_to_install(models: Path) -> None:
    hidden = """
import sys, typer
sys.modules["torch"] = None
from unpool.service.command import serve
typer.run(serve)
"""
    done = subprocess.run(
        [sys.executable, "-c", hidden, "--models", str(models)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert 'pip install "unpool[server]"' in done.stderr
    assert "Traceback" not in done.stderr


async def test_the_memory_of_one_input_is_what_the_command_line_says(models: Path, processes: list[Process]) -> None:
    process = Process("--models", str(models), "--port", "0", "--max-input-bytes", str(1 << 16))
    processes.append(process)
    async with grpc.aio.insecure_channel(process.until("ready")["address"]) as channel:
        stream = inspection_service_pb2_grpc.InspectionServiceStub(channel).Project(project())
        with pytest.raises(grpc.aio.AioRpcError, match="smaller picture") as caught:
            await stream.read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
