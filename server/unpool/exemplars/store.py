"""The index's files, local or remote: written whole or not at all, and by one scan at a time."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from unpool.exemplars.roots import local_path
from unpool.graph.errors import ExhaustedError, PreconditionError

_RETRY_SECONDS = 10.0


def default_index() -> str:
    """Where indices lie unless told otherwise: the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(base) / "unpool" / "exemplars")


class Store:
    """A folder of files under a URI.

    Args:
        uri: a local path, or any URI that fsspec writes to.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        path = local_path(uri)
        self._local = path is not None
        try:
            self._system, self._base = fsspec.core.url_to_fs(str(path.absolute()) if path is not None else uri)
        except (ImportError, ValueError) as error:
            raise PreconditionError(f"the index '{uri}' cannot be opened: {error}") from error

    def names(self, folder: str = "") -> list[str]:
        """The names directly in a folder, sorted; none where there is no such folder."""
        try:
            found = self._system.ls(self._path(folder), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(p).rstrip("/").rsplit("/", 1)[-1] for p in found)

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return bool(self._system.exists(self._path(name)))

    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            FileNotFoundError: there is none.
        """
        data: bytes = self._system.cat_file(self._path(name))
        return data

    def write(self, name: str, data: bytes) -> None:
        """Writes a file so that it is there whole or not at all.

        Raises:
            PreconditionError: it cannot be written, as where the disk is full; what was there before stays.
        """
        path = self._path(name)
        try:
            if not self._local:
                self._system.pipe_file(path, data)  # object stores show an object when it is whole
                return
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            temporary = f"{path}.{uuid.uuid4().hex}.part"
            try:
                with open(temporary, "wb") as file:  # noqa: PTH123 - the path is fsspec's
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                Path(temporary).replace(path)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except OSError as error:
            raise PreconditionError(
                f"the index at {self.uri} cannot be written: {error.strerror or error}; what was committed stays, and "
                "the next scan goes on from there"
            ) from error

    def remove(self, folder: str) -> None:
        """Removes a folder with all in it, where it is there."""
        path = self._path(folder)
        if self._system.exists(path):
            self._system.rm(path, recursive=True)

    @contextmanager
    def held(self, folder: str) -> Iterator[None]:
        """Keeps other scans out of a folder.

        A local folder is held by a lock of the kernel's, which ends with the process; a remote one by a file, which a
        process that was killed leaves behind.

        Raises:
            ExhaustedError: another scan holds it.
        """
        with self._locked(folder) if self._local else self._claimed(folder):
            yield

    @contextmanager
    def _locked(self, folder: str) -> Iterator[None]:
        import fcntl

        path = Path(self._path(f"{folder}/lock"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
        except OSError as error:
            raise PreconditionError(f"the index at {self.uri} cannot be written: {error.strerror or error}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise _held(file.read().strip()) from None
            file.truncate(0)
            file.write(_who())
            file.flush()
            yield

    @contextmanager
    def _claimed(self, folder: str) -> Iterator[None]:
        path = self._path(f"{folder}/lock")
        if self._system.exists(path):
            raise _held(f"{self._system.cat_file(path).decode(errors='replace')}; if it is gone, remove {path}")
        self._system.pipe_file(path, _who().encode())
        try:
            yield
        finally:
            self._system.rm(path)

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base


def _who() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _held(who: Any) -> ExhaustedError:
    return ExhaustedError(
        f"another scan of the same model and data set is writing this index ({who}); wait until it is done",
        retry_seconds=_RETRY_SECONDS,
    )
