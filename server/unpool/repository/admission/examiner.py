"""The examiner: what the serving process asks before it touches a model's file."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias, cast

from unpool.engine.recent import Recent
from unpool.repository.admission.limits import Limits
from unpool.repository.admission.verdict import OutputParity, Parity, Verdict, sentence

_log = logging.getLogger(__name__)
_KEPT = 1024
_LONGEST_ANSWER = 64 << 20
# How much later than the worker itself we give up on it.
_GRACE_SECONDS = 15.0
# A worker started anew loads its libraries first.
_START_SECONDS = 60.0
_PATIENCE = 60
_FATAL = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
# One packet is one request; where there are no packets, one write.
_PACKETS = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_STREAM

Signature: TypeAlias = tuple[tuple[str, int, int], ...]
_Part: TypeAlias = Mapping[str, object]


@dataclass(frozen=True)
class Examination:
    """What an examination gave: its verdict, and whatever of the rest was asked for and came."""

    verdict: Verdict
    report: Mapping[str, object] | None = None
    parity: Parity | None = None


@dataclass
class _Worker:
    control: socket.socket
    pid: int


class Examiner:
    """Has models examined in a process apart; every method may be called from any thread.

    Verdicts are kept by file, size and time of change: an unchanged file is examined once.

    Args:
        limits: what an examination may take.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._closed = False
        self._verdicts: Recent[tuple[Path, Signature], list[Verdict]] = Recent(_KEPT)
        self._parities: Recent[tuple[Path, Signature], Future[Parity]] = Recent(_KEPT)
        self._comparing = ThreadPoolExecutor(1, thread_name_prefix="unpool-parity")

    def start(self) -> None:
        """Makes the worker ready. Early in a process, before it has threads, that is a fork and costs nothing."""
        with self._lock:
            self._ready()

    def close(self) -> None:
        """Ends the worker and whatever it examines."""
        with self._lock:
            self._closed = True
            self._drop()
        self._comparing.shutdown(wait=False, cancel_futures=True)

    def admit(self, file: Path, signature: Signature | None = None) -> Verdict:
        """The verdict on a model's file; examined now unless it was before and has not changed.

        Args:
            file: the ONNX file.
            signature: changes when the file, or what lies beside it, does; read from the disk where it is not given.
        """
        signature = _signature(file) if signature is None else signature
        with self._lock:
            kept = self._verdicts.find((file, signature), list)
        if not kept:
            verdict = self._examined("admit", file, signature).verdict
            if not verdict.passing:
                kept.append(verdict)
            return verdict
        return kept[0]

    def compare(self, file: Path, signature: Signature | None = None) -> Future[Parity]:
        """How torch and ONNX Runtime compare on the model, when it is known: it is found out at leisure."""
        signature = _signature(file) if signature is None else signature

        def ask() -> Parity:
            found = self._examined("parity", file, signature)
            parity = found.parity or Parity(reason=found.verdict.reason)
            level = logging.INFO if parity.holds or not parity.outputs else logging.WARNING
            _log.log(level, "parity", extra={"file": str(file), "result": str(parity)})
            return parity

        with self._lock:
            return self._parities.find((file, signature), lambda: self._comparing.submit(ask))

    def report(self, file: Path) -> Examination:
        """Everything that can be told of a model without serving it."""
        return self._examined("report", file, _signature(file))

    def _examined(self, kind: str, file: Path, signature: Signature) -> Examination:
        sizes = {Path(path): size for path, _, size in signature}
        whole = sum(sizes.values())
        request = {
            "kind": kind,
            "file": str(file.absolute()),
            "size": sizes.get(file, whole),
            "beside": whole - sizes.get(file, whole),
            "seconds": self._limits.seconds_for(whole),
            "limits": asdict(self._limits),
        }
        try:
            parts = {str(part.get("part")): part for part in self._ask(request)}
        except OSError as error:
            reason = f"it could not be examined: {error.strerror or error}"
            return Examination(Verdict(False, reason, passing=True))
        except ValueError:
            parts = {}
        try:
            return _read(parts)
        except (TypeError, ValueError, KeyError):
            # A process that a file has taken over may say anything.
            return Examination(Verdict(False, "its examination gave no answer that could be read"))

    def _ask(self, request: _Part) -> Iterator[_Part]:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, self._lock:
                self._ready()
                assert self._worker is not None
                worker = self._worker
                line = json.dumps(request).encode()
                try:
                    socket.send_fds(worker.control, [line], [theirs.fileno()])
                except OSError:
                    # It was killed from outside: a new one takes its place.
                    self._drop()
                    self._ready()
                    worker = self._worker
                    socket.send_fds(worker.control, [line], [theirs.fileno()])
            seconds = request["seconds"]
            assert isinstance(seconds, float)
            ours.settimeout(seconds + _GRACE_SECONDS + _START_SECONDS)
            try:
                yield from _lines(ours)
            except TimeoutError:
                with self._lock:
                    if self._worker is worker:
                        self._drop()
                yield {"part": "ended", "late": True, "seconds": seconds, "status": 0}

    def _ready(self) -> None:
        if self._closed:
            raise OSError("the server is ending")
        if self._worker is not None and _alive(self._worker):
            return
        self._drop()
        self._worker = _fork() if _alone() else _spawn()

    def _drop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            # Its end of the line tells it to end, and its children with it.
            worker.control.close()
            _bury(worker.pid)


def _bury(pid: int) -> None:
    """Waits for a worker that was told to end, and ends it where it does not."""
    for attempt in range(_PATIENCE):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                time.sleep(0.001 * attempt)
                continue
        return
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _alone() -> bool:
    """Whether this process may fork: it has one thread, and so nobody who holds a lock."""
    try:
        return threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208
    except OSError:
        return False


def _fork() -> _Worker:
    from unpool.repository.admission.worker import serve

    ours, theirs = socket.socketpair(socket.AF_UNIX, _PACKETS)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            serve(theirs)
        finally:
            os._exit(1)
    theirs.close()
    return _Worker(ours, pid)


def _spawn() -> _Worker:
    ours, theirs = socket.socketpair(socket.AF_UNIX, _PACKETS)
    with theirs:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
        environment["ORT_DISABLE_TELEMETRY"] = "1"
        process = subprocess.Popen(
            [sys.executable, "-m", "unpool.repository.admission.worker", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    # Waited for by its number, like one that was forked.
    process.returncode = 0
    return _Worker(ours, process.pid)


def _alive(worker: _Worker) -> bool:
    try:
        return os.waitpid(worker.pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def _lines(answer: socket.socket) -> Iterator[_Part]:
    """Parts as they come; ends with the one after which nothing comes."""
    held = b""
    total = 0
    while data := answer.recv(1 << 16):
        total += len(data)
        if total > _LONGEST_ANSWER:
            return
        *lines, held = (held + data).split(b"\n")
        for line in lines:
            part = json.loads(line)
            if not isinstance(part, dict):
                return
            yield part
            if part.get("part") in ("done", "ended"):
                return


def _read(parts: Mapping[str, _Part]) -> Examination:
    """What an examination sent, which is no more to be trusted than the file: taken field by field."""
    given = parts.get("verdict")
    ending = _ending(parts)
    if given is None:
        reason = f"its examination {ending[0]}" if ending else "its examination ended without a word"
        return Examination(Verdict(False, sentence(reason), passing=ending[1] if ending else True))
    node = given.get("node")
    verdict = Verdict(
        admitted=given.get("admitted") is True,
        reason=sentence(str(given.get("reason", ""))),
        node=sentence(node) if isinstance(node, str) else None,
        digest=str(given.get("digest", ""))[:64],
        passing=given.get("passing") is True,
        warning=sentence(str(parts.get("trial", {}).get("warning", ""))),
    )
    if verdict.admitted and "trial" not in parts and (number := _fatal(parts)):
        # On common input: in the server it would take every other model along.
        reason = f"ONNX Runtime crashes when it runs the model ({signal.Signals(number).name})"
        return Examination(Verdict(False, reason))
    parity = _parity(parts["parity"]) if "parity" in parts else None
    if parity is None and verdict.admitted and ending:
        parity = Parity(reason=sentence(f"the comparison {ending[0]}"))
    report = parts.get("report")
    return Examination(verdict, report, parity)


def _ending(parts: Mapping[str, _Part]) -> tuple[str, bool] | None:
    """How an examination ended that did not end well, and whether that may pass."""
    if "failed" in parts:
        return f"failed: {parts['failed'].get('reason')}", False
    ended = parts.get("ended")
    if ended is None:
        return None
    if ended.get("late"):
        return f"took longer than {_number(ended.get('seconds')):.0f} seconds", True
    status = int(_number(ended.get("status")))
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return "took more computing time than it may", True
        if number == signal.SIGKILL:
            return "was ended from outside, as for want of memory", True
        return f"crashed ({signal.Signals(number).name})", False
    return f"ended without a verdict (exit code {os.WEXITSTATUS(status)})", False


def _fatal(parts: Mapping[str, _Part]) -> int:
    """The signal of a kernel's own mistake that ended an examination, or 0; an abort may be for want of memory."""
    status = int(_number(parts.get("ended", {}).get("status")))
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return number if number in _FATAL else 0


def _parity(part: _Part) -> Parity:
    outputs = part.get("outputs")
    extents = part.get("extents")
    borrowed = part.get("borrowed")
    return Parity(
        outputs=tuple(
            OutputParity(sentence(str(n)), float(d), float(t), sentence(str(half)), int(steps), sentence(str(fault)))
            for n, d, t, half, steps, fault in cast("list[tuple[str, float, float, str, int, str]]", outputs)
        ),
        extents=tuple(
            (sentence(str(name)), tuple(int(d) for d in shape))
            for name, shape in cast("list[tuple[str, list[int]]]", extents)
        ),
        borrowed=tuple(sentence(str(name)) for name in cast("list[str]", borrowed)),
        reason=sentence(str(part.get("reason", ""))),
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _signature(file: Path) -> Signature:
    """The file and those beside it that may hold its weights."""
    try:
        beside = [p for p in file.parent.iterdir() if p.suffix != ".onnx" and p.name.startswith(file.stem)]
        found = [(str(p), p.stat()) for p in sorted({file, *beside}) if p.is_file()]
    except OSError:
        return ()
    return tuple((path, status.st_mtime_ns, status.st_size) for path, status in found)
