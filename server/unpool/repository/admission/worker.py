"""The worker: a process that forks one child for each examination, ends those that take too long, and ends with us.

It has the libraries loaded and has never seen a model, so a child costs a fork, and what a hostile file does to a child
reaches neither the next examination nor the server. A child talks in lines of JSON over a socket of its own.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from unpool.repository.admission import examination
from unpool.repository.admission.limits import Limits

_POLL_SECONDS = 0.02
_LONGEST_REQUEST = 1 << 16
_KINDS = {"admit": examination.admit, "parity": examination.parity, "report": examination.report}
_NICE = 19


@dataclass(frozen=True)
class _Child:
    answer: socket.socket
    deadline: float
    seconds: float


def serve(control: socket.socket) -> NoReturn:
    """Takes requests until the other end of ``control`` closes; never returns.

    A request is one line of JSON (``kind``, ``file``, ``limits``, ``size``, ``beside``, ``seconds``) with the socket to
    answer on.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _silence()
    # What is there now is shared with every child as long as nobody writes to it.
    gc.collect()
    gc.freeze()
    children: dict[int, _Child] = {}
    while True:
        readable, _, _ = select.select([control], [], [], _POLL_SECONDS if children else None)
        _reap(children)
        if not readable:
            continue
        try:
            data, descriptors, _, _ = socket.recv_fds(control, _LONGEST_REQUEST, 1)
        except OSError:
            data, descriptors = b"", []
        if not data:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            os._exit(0)
        if not descriptors:
            continue
        answer = socket.socket(fileno=descriptors[0])
        request = json.loads(data)
        seconds = float(request["seconds"])
        pid = os.fork()
        if pid == 0:
            control.close()
            for child in children.values():
                child.answer.close()
            _child(answer, request)
        children[pid] = _Child(answer, time.monotonic() + seconds, seconds)


def _reap(children: dict[int, _Child]) -> None:
    now = time.monotonic()
    for pid, child in list(children.items()):
        late = now > child.deadline
        if late:
            os.kill(pid, signal.SIGKILL)
        ended, status = os.waitpid(pid, 0 if late else os.WNOHANG)
        if not ended:
            continue
        del children[pid]
        _send(child.answer, {"part": "ended", "late": late, "seconds": child.seconds, "status": status})
        child.answer.close()


def _send(answer: socket.socket, part: Mapping[str, object]) -> None:
    # Who asked may have heard enough and be gone.
    with contextlib.suppress(OSError):
        answer.sendall(json.dumps(part).encode() + b"\n")


def _child(answer: socket.socket, request: Mapping[str, object]) -> NoReturn:
    code = 1
    try:
        limits = Limits(**request["limits"])  # type: ignore[arg-type]  # a dictionary of Limits' own fields
        size, beside = int(str(request["size"])), int(str(request["beside"]))
        memory = limits.memory_for(size, beside)
        _confine(memory, float(str(request["seconds"])), patient=request["kind"] == "parity")
        kind, file = _KINDS[str(request["kind"])], Path(str(request["file"]))
        for part in _guarded(kind(file, limits)):
            _send(answer, part)
        code = 0
    finally:
        # Neither handlers of the parent's nor a library's own end may run here.
        os._exit(code)


def _guarded(parts: Iterator[Mapping[str, object]]) -> Iterator[Mapping[str, object]]:
    try:
        yield from parts
    except MemoryError:
        yield {"part": "failed", "reason": "it takes more memory than it may"}
    except Exception:
        # A file that is admitted and then stumbled over is a mistake of ours, and its words are not for a reader.
        yield {"part": "failed", "reason": "something in the file is not foreseen"}
    yield {"part": "done"}


def _confine(memory: int, seconds: float, *, patient: bool) -> None:
    """Bounds memory and time, and lets nothing be written to a file."""
    if hasattr(resource, "RLIMIT_DATA") and sys.platform == "linux":
        # Files that are only mapped do not count, which RLIMIT_AS would count once for every tensor in them.
        most = _data_bytes() + memory
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    cpu = int(seconds) + 5
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    # The worker ends who is late; should it be gone itself, the kernel does.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(cpu)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        # Where memory runs out all the same, the kernel takes this process and not the server.
        Path("/proc/self/oom_score_adj").write_text("1000")
    if patient:
        os.nice(_NICE)


def _data_bytes() -> int:
    """Private writable memory of this process, as RLIMIT_DATA counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    return 0


def _silence() -> None:
    """Lets go of the terminal: what libraries print while they crash is told by the verdict."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
