"""The index's files, local or remote: written whole or not at all, and by one scan at a time."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec

from unpool.exemplars.claims import LAPSE_SECONDS, Claim, claimed, is_held, process_name
from unpool.exemplars.roots import local_path
from unpool.graph.errors import PreconditionError

_RETRY_SECONDS = 10.0


def default_index() -> str:
    """Where indices lie unless told otherwise: the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(base) / "unpool" / "exemplars")


class Store:
    """A folder of files under a URI.

    Args:
        uri: a local path, or any URI that fsspec writes to.
        lapse: seconds after which the hold of a process on a remote folder ends when the process is gone.
    """

    def __init__(self, uri: str, lapse: float = LAPSE_SECONDS) -> None:
        self.uri = uri
        self._lapse = lapse
        self._claim: Claim | None = None
        path = local_path(uri)
        self._local = path is not None
        try:
            self._system, self._base = fsspec.core.url_to_fs(str(path.absolute()) if path is not None else uri)
        except (ImportError, ValueError) as error:
            raise PreconditionError(f"the index '{uri}' cannot be opened: {error}") from error

    def names(self, folder: str = "") -> list[str]:
        """The names directly in a folder, sorted; none where there is no such folder."""
        self._system.invalidate_cache(self._path(folder))  # other machines write here, too
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
            ExhaustedError: another process took the folder that this store held.
        """
        if self._claim is not None:
            self._claim.check()
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

        A local folder is held by a lock of the kernel's, which ends with the process; a remote one by a claim, which
        lapses a while after the process has ended (``claims``).

        Raises:
            ExhaustedError: another scan holds it.
            PreconditionError: the index cannot be written.
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
                raise is_held(file.read().strip(), _RETRY_SECONDS) from None
            file.truncate(0)
            file.write(process_name())
            file.flush()
            yield

    @contextmanager
    def _claimed(self, folder: str) -> Iterator[None]:
        try:
            with claimed(self._system, self._path(f"{folder}/claims"), self._lapse) as self._claim:
                yield
        finally:
            self._claim = None

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base
