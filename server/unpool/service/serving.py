"""A server as a process: logs, signals, the parent's end, and an exit that cannot hang."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from unpool.engine.devices import resolve
from unpool.engine.settings import EngineSettings
from unpool.graph.errors import UnpoolError
from unpool.repository import Examiner, Repository, RepositorySettings
from unpool.service.logs import LogFormat, configure
from unpool.service.scheduler import SchedulerSettings
from unpool.service.server import Server
from unpool.service.settings import ServiceSettings

_log = logging.getLogger(__name__)
# A parent that is gone waits for nothing.
_ORPHAN_GRACE = 0.5
# How long the last steps may take before the process ends without them.
_HARD_SECONDS = 10.0


@dataclass(frozen=True)
class Serving:
    """What the command line said; see ``unpool serve --help``."""

    models: Path
    host: str
    port: int
    uds: str | None
    device: str
    threads: int | None
    load_at_start: bool
    data: tuple[str, ...]
    index: str | None
    max_models: int
    max_model_bytes: int | None
    max_message_bytes: int
    max_input_bytes: int
    max_calls: int
    drain_seconds: float
    insecure: bool
    json_logs: bool
    exit_on_stdin_eof: bool


def run(serving: Serving) -> int:
    """Serves until told to end; returns the exit code."""
    configure(LogFormat.JSON if serving.json_logs else LogFormat.TEXT)
    # What ONNX Runtime complains of is also raised, and then logged in our form.
    onnxruntime.set_default_logger_severity(4)
    settings = ServiceSettings(
        host=serving.host,
        port=serving.port,
        uds=serving.uds,
        insecure=serving.insecure,
        max_message_bytes=serving.max_message_bytes,
        drain_seconds=serving.drain_seconds,
        load_at_start=serving.load_at_start,
        data=serving.data,
        index=serving.index,
        scheduler=SchedulerSettings(admitted=serving.max_calls),
    )
    engine = EngineSettings(device=serving.device, threads=serving.threads, request_bytes=serving.max_input_bytes)
    # Before this process has threads or a device: what examines models is forked from it.
    examiner = Examiner()
    examiner.start()
    try:
        # A device that is not there is told now, not by every model in turn.
        resolve(engine.device)
        limits = RepositorySettings(max_models=serving.max_models, max_bytes=serving.max_model_bytes)
        repository = Repository(serving.models, limits, engine, examiner=examiner)
        ended = asyncio.run(_serve(repository, settings, serving.exit_on_stdin_eof))
    except UnpoolError as error:
        _log.error("cannot serve", extra={"reason": str(error)})  # the reason says all there is
        return 1
    finally:
        examiner.close()
    repository.close()
    if not ended:
        # A thread deep in a library would be torn down in the middle of its work, which ends in a crash report.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)
    return 0


async def _serve(repository: Repository, settings: ServiceSettings, exit_on_stdin_eof: bool) -> bool:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    hurry = asyncio.Event()
    grace = settings.drain_seconds

    def end(seconds: float) -> None:
        nonlocal grace
        if ending.is_set():
            hurry.set()
        grace = min(grace, seconds)
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, settings.drain_seconds)
    if exit_on_stdin_eof:
        _watch_stdin(lambda: loop.call_soon_threadsafe(end, _ORPHAN_GRACE))
    server = Server(repository, settings)
    starting = asyncio.create_task(server.start())
    waiting = asyncio.create_task(ending.wait())
    # Models may take long to load at start, and the wish to end may come before.
    await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
    await waiting
    starting.cancel()
    _end_surely(grace + _HARD_SECONDS)
    stopping = asyncio.create_task(server.stop(grace))
    hurrying = asyncio.create_task(hurry.wait())
    await asyncio.wait({stopping, hurrying}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        # A second signal: who sends it does not want to wait.
        await server.stop(0.0)
    ended = await stopping
    hurrying.cancel()
    return ended


def _watch_stdin(ended: Callable[[], object]) -> None:
    """Calls back when standard input ends: the parent closed it, or died and the kernel did."""

    def watch() -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        _end_surely(_ORPHAN_GRACE + _HARD_SECONDS)
        ended()

    threading.Thread(target=watch, name="unpool-stdin", daemon=True).start()


def _end_surely(seconds: float) -> None:
    """Ends the process after a while, whatever hangs."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()
