"""An embedded server starts, says why when it does not, and never outlives its parent."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.service.small import network

from unpool.client import Client, EmbeddedError, PreconditionError
from unpool.client.embedded import EmbeddedServer

# A server of a few lines: healthy on its socket until standard input ends.
SERVER = """
import sys, threading
from concurrent import futures
import grpc
from grpc_health.v1 import health, health_pb2_grpc, health_pb2
socket = sys.argv[sys.argv.index("--uds") + 1]
assert "--exit-on-stdin-eof" in sys.argv
server = grpc.server(futures.ThreadPoolExecutor(2))
servicer = health.HealthServicer()
servicer.set("", health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
server.add_insecure_port(f"unix:{socket}")
server.start()
sys.stdin.buffer.read()
server.stop(0).wait()
"""

PARENT = """
import sys, time
from unpool.client.embedded import EmbeddedServer
if sys.argv[1].endswith(".onnx"):
    server = EmbeddedServer.start(sys.argv[1], device="cpu")
else:
    server = EmbeddedServer.launch([sys.executable, "-c", sys.argv[1]], startup_timeout=60)
print(server.process_id, flush=True)
if sys.argv[2] == "stay":
    time.sleep(600)
"""


def gone(process_id: int, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(process_id) or psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def start(code: str, *, seconds: float = 60.0) -> EmbeddedServer:
    return EmbeddedServer.launch([sys.executable, "-c", code], startup_timeout=seconds)


def test_it_serves_on_a_private_socket_until_it_is_stopped() -> None:
    server = start(SERVER)
    socket = Path(server.target.removeprefix("unix:"))
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert psutil.pid_exists(server.process_id)
    server.stop()
    assert not psutil.pid_exists(server.process_id)
    assert not socket.parent.exists()
    server.stop()


def test_dropping_it_stops_it() -> None:
    server = start(SERVER)
    process_id = server.process_id
    del server
    assert gone(process_id)


@pytest.mark.parametrize(("how", "what"), [("kill", "small"), ("leave", "small"), ("kill", "unpool serve")])
def test_it_ends_with_its_parent_however_that_ends(how: str, what: str, tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(network().SerializeToString())
    served = SERVER if what == "small" else str(model)
    stay = "stay" if how == "kill" else "leave"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, served, stay], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    process_id = int(parent.stdout.readline())
    if how == "kill":
        assert psutil.pid_exists(process_id)
        os.kill(parent.pid, signal.SIGKILL)
    parent.wait(20)
    parent.stdout.close()
    assert gone(process_id)


def test_a_server_that_ends_at_once_shows_the_end_of_its_log() -> None:
    with pytest.raises(EmbeddedError, match=r"status 3:\n(.|\n)*no such device") as caught:
        start("import sys; print('x' * 10000); print('no such device', file=sys.stderr); sys.exit(3)")
    assert len(str(caught.value)) < 5000


def test_a_server_that_never_answers_is_ended_after_the_timeout() -> None:
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(EmbeddedError, match=r"did not answer within 0\.5 s"):
        start("import time; time.sleep(100)", seconds=0.5)
    assert {child.pid for child in psutil.Process().children()} <= before


def test_a_command_that_does_not_exist_is_an_embedded_error() -> None:
    with pytest.raises(EmbeddedError, match="could not be started"):
        EmbeddedServer.launch(["/nowhere/at/all"], startup_timeout=1)


def test_a_path_that_does_not_exist_is_told_before_anything_starts() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.onnx"):
        EmbeddedServer.start("nowhere.onnx")


def test_a_file_that_is_no_model_is_listed_as_such(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"this is no model")
    with Client.embedded(tmp_path / "broken.onnx", device="cpu") as client:
        assert client.models()[0].name == "broken"
        with pytest.raises(PreconditionError, match="broken"):
            client.model("broken")


def test_a_device_that_is_not_there_is_said_by_the_server(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(network().SerializeToString())
    with pytest.raises(EmbeddedError, match="cuda:99"):
        EmbeddedServer.start(tmp_path / "net.onnx", device="cuda:99")
