"""`unpool serve` as a child process on a free loopback port."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from unpool.client import Client
from unpool.client.errors import UnpoolError

_STARTUP_SECONDS = 120.0


@contextlib.contextmanager
def serving(models: Path, log: Path, data: Path) -> Iterator[Client]:
    """A client of a server that runs as long as the block does.

    Args:
        models: the model repository.
        log: file that takes the server's log.
        data: folder of data sets; indices of scans lie beside it.

    Raises:
        RuntimeError: the server ends or does not answer; the message names its log.
    """
    port = _free_port()
    # The server's input is a pipe that only this process holds: however the demo ends, the server ends with it.
    command = [str(Path(sys.executable).with_name("unpool")), "serve", "--exit-on-stdin-eof"]
    command += ["--models", str(models), "--port", str(port)]
    command += ["--data", str(data), "--index", str(data.with_name("index"))]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            with Client(f"127.0.0.1:{port}") as client:
                _wait(client, process, log)
                yield client
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(client: Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTUP_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}; see {log}")
        try:
            client.models(timeout=2)
        except UnpoolError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the server does not answer after {_STARTUP_SECONDS:.0f} s; see {log}")
