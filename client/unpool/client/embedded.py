"""A server of one's own: a child process on a private Unix socket that ends with its parent."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import grpc

from unpool.client.errors import EmbeddedError

_NEEDED = ("torch", "onnxruntime", "onnx", "onnx_ir", "onnxscript", "grpc_health", "unpool.service")
_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"
_SOCKET_PATH_LIMIT = 100
_LOG_TAIL = 4000
_MESSAGE_LIMIT = 1 << 30


class EmbeddedServer:
    """A running child process.

    Its standard input is a pipe whose other end only this process holds: the server ends when the pipe does, however
    this process ends. The socket lies in a directory that only this user can enter.

    Attributes:
        target: the address to connect to.
        process_id: of the child.
    """

    def __init__(self, process: subprocess.Popen[bytes], directory: Path, log: BinaryIO, target: str) -> None:
        self.target = target
        self.process_id = process.pid
        self._finish = weakref.finalize(self, _stop, process, directory, log)

    @classmethod
    def start(cls, path: str | Path, *, device: str | None = None, startup_timeout: float = 120.0) -> EmbeddedServer:
        """Starts a server on a model file or a repository, and waits until it says that it serves.

        Args:
            path: an ``.onnx`` file or a repository's folder.
            device: ``auto``, ``cpu`` or ``cuda:N``; ``None`` is the server's default.
            startup_timeout: seconds to wait.

        Raises:
            EmbeddedError: it cannot be started; the message says what to install, or ends with the server's log.
            FileNotFoundError: there is no ``path``.
        """
        path = Path(path).absolute()
        if not path.exists():
            raise FileNotFoundError(f"no such model or repository: {path}")
        return cls.launch(_command(path, device), startup_timeout=startup_timeout)

    @classmethod
    def launch(cls, command: Sequence[str], *, startup_timeout: float) -> EmbeddedServer:
        """Starts a command that serves on the socket that it gets as ``--uds PATH``, and waits until it serves."""
        directory = Path(tempfile.mkdtemp(prefix="unpool-"))
        if len(str(directory)) > _SOCKET_PATH_LIMIT - len("/unpool.sock"):
            directory.rmdir()
            directory = Path(tempfile.mkdtemp(prefix="unpool-", dir="/tmp"))
        socket = directory / "unpool.sock"
        log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the server
        try:
            process = subprocess.Popen(
                [*command, "--uds", str(socket), "--exit-on-stdin-eof"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal goes to the whole group: the client decides when its server ends.
                start_new_session=True,
            )
        except OSError as error:
            log.close()
            shutil.rmtree(directory, ignore_errors=True)
            raise EmbeddedError(f"the embedded server could not be started: {error}") from error
        server = cls(process, directory, log, f"unix:{socket}")
        try:
            _wait(process, server.target, log, startup_timeout)
        except BaseException:
            server.stop()
            raise
        return server

    def stop(self) -> None:
        """Ends the server, first politely, and removes its directory; does nothing when that has been done."""
        self._finish()


def missing_packages() -> list[str]:
    """The packages of the server extra that are not installed here."""
    return [name for name in _NEEDED if not _installed(name)]


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _command(path: Path, device: str | None) -> list[str]:
    if os.name == "nt":
        raise EmbeddedError("an embedded server needs Unix sockets; start 'unpool serve' and name it with its address")
    missing = missing_packages()
    if missing:
        raise EmbeddedError(
            f"an embedded server needs the server extra ({', '.join(missing)} missing): pip install 'unpool[server]'"
        )
    # The limit on messages guards a server against strangers, and so do data roots: nobody else reaches this one.
    data = ["--data", "*"]
    limit = ["--max-message-bytes", str(_MESSAGE_LIMIT)]
    command = [sys.executable, "-m", "unpool.service", "--models", str(path), *limit, *data]
    return [*command, "--device", device] if device else command


def _wait(process: subprocess.Popen[bytes], target: str, log: BinaryIO, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    with grpc.insecure_channel(target, options=[("grpc.max_reconnect_backoff_ms", 200)]) as channel:
        check = channel.unary_unary(_HEALTH, request_serializer=bytes, response_deserializer=bytes)
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise EmbeddedError(f"the embedded server ended with status {process.returncode}:\n{_tail(log)}")
            try:
                if check(b"", timeout=1.0) == _SERVING:
                    return
            except grpc.RpcError:
                # Not listening yet. A look at the process between two tries is what ends this early.
                pass
            time.sleep(0.05)
    raise EmbeddedError(f"the embedded server did not answer within {timeout:g} s:\n{_tail(log)}")


def _tail(log: BinaryIO) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - _LOG_TAIL))
    return log.read().decode(errors="replace").strip()


def _stop(process: subprocess.Popen[bytes], directory: Path, log: BinaryIO) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(timeout=5.0)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    log.close()
    shutil.rmtree(directory, ignore_errors=True)
