"""Who may write a remote folder: claims that are renewed as long as their process lives, and lapse when it is gone.

A store of objects has no locks. Each process that wants the folder writes a claim under a name of its own, then looks
who else has: where there is a claim that has not lapsed, it withdraws. Two that begin at the same moment may both
withdraw; never do both go on, provided that a listing shows what was written before it (as S3, GCS and Azure have it).
A claim's age is the store's own time between it and a claim just written, so that no two clocks are compared.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import fsspec

from unpool.graph.errors import ExhaustedError, PreconditionError

_log = logging.getLogger(__name__)
LAPSE_SECONDS = 60.0
"""How long after it was last renewed a claim counts for."""
_RENEWALS = 4
"""How often a claim is renewed in that time, so that a hiccup of the store does not end it."""


def process_name() -> str:
    """This process, for others to read."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def is_held(who: str, retry_seconds: float) -> ExhaustedError:
    """The refusal of a second scan."""
    return ExhaustedError(
        f"another scan of the same model and data set is writing this index ({who}); wait until it is done",
        retry_seconds=retry_seconds,
    )


@dataclass(eq=False)
class Claim:
    """A claim that this process holds; ``lost`` when another took it for lapsed, as after this one stood still."""

    lost: bool = False

    def check(self) -> None:
        """Refuses to go on with a claim that is lost.

        Raises:
            ExhaustedError: it is.
        """
        if self.lost:
            raise ExhaustedError(
                "this scan stood still for so long that its claim on the index lapsed, and another goes on with it; "
                "what was committed stays",
                retry_seconds=LAPSE_SECONDS,
            )


@contextmanager
def claimed(system: fsspec.AbstractFileSystem, folder: str, lapse: float = LAPSE_SECONDS) -> Iterator[Claim]:
    """Holds a folder of a remote store for as long as the context lasts.

    Args:
        system: the store.
        folder: where claims are written.
        lapse: seconds after which a claim that was not renewed counts no more.

    Raises:
        ExhaustedError: another process holds it; the message says which, and when its claim lapses.
        PreconditionError: no claim can be written.
    """
    mine = f"{folder}/{uuid.uuid4().hex}.claim"
    claim, ended = Claim(), threading.Event()
    try:
        _write(system, mine)
    except OSError as error:
        raise PreconditionError(f"the index cannot be written: {error.strerror or error}") from error
    try:
        now = _written(system, mine)
        for other in _claims(system, folder):
            if other.rsplit("/", 1)[-1] == mine.rsplit("/", 1)[-1]:
                continue
            with suppress(FileNotFoundError):
                age = now - _written(system, other)
                if age < lapse:
                    who = system.cat_file(other).decode(errors="replace").split("\n")[0]
                    left = max(lapse - age, 1.0)
                    raise is_held(f"{who}; if it has died, its claim lapses in {left:.0f} s", left)
                system.rm_file(other)
        renewing = threading.Thread(
            target=_renew, args=(system, mine, lapse / _RENEWALS, claim, ended), name="unpool-claim", daemon=True
        )
        renewing.start()
        try:
            yield claim
        finally:
            ended.set()
            renewing.join()
    finally:
        with suppress(FileNotFoundError):
            system.rm_file(mine)


def _renew(system: fsspec.AbstractFileSystem, path: str, seconds: float, claim: Claim, ended: threading.Event) -> None:
    while not ended.wait(seconds):
        try:
            system.invalidate_cache(path)
            if not system.exists(path):
                claim.lost = True
                return
            _write(system, path)
        except Exception:
            _log.warning("a claim on the index could not be renewed; it is tried again", exc_info=True)


def _claims(system: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    system.invalidate_cache(folder)
    return sorted(str(path) for path in system.ls(folder, detail=False) if str(path).endswith(".claim"))


def _write(system: fsspec.AbstractFileSystem, path: str) -> None:
    system.pipe_file(path, f"{process_name()}\n{time.time()}".encode())


def _written(system: fsspec.AbstractFileSystem, path: str) -> float:
    """When a claim was last renewed, in seconds: by the store's clock, or where it tells none, by its writer's."""
    system.invalidate_cache(path)
    try:
        return float(system.modified(path).timestamp())
    except NotImplementedError:
        return float(system.cat_file(path).decode().split("\n")[1])
