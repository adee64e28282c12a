"""The models that can be asked: loaded on first use, lent while work goes on, unloaded when room is needed."""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

from unpool.engine.settings import EngineSettings
from unpool.graph.errors import ModelError, NotFoundError, UnpoolError
from unpool.repository.admission import Examiner, RefusedError
from unpool.repository.entry import Entry, open_entry
from unpool.repository.layout import Source, find, scan

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 60.0

Opener: TypeAlias = Callable[[Source], Entry]


class State(enum.Enum):
    """Whether a version can be asked."""

    UNAVAILABLE = "unavailable"
    AVAILABLE = "available"
    LOADED = "loaded"


@dataclass(frozen=True)
class VersionListing:
    """One version in a listing; ``reason`` says why it is unavailable."""

    version: int
    state: State
    reason: str = ""


@dataclass(frozen=True)
class ModelListing:
    """One model in a listing, its versions ascending; ``reason`` says why there are none."""

    name: str
    versions: tuple[VersionListing, ...]
    reason: str = ""


@dataclass(frozen=True)
class RepositorySettings:
    """Limits of a repository.

    Attributes:
        max_models: the most versions that stay loaded while nobody uses them.
        max_bytes: the most bytes of weights that stay loaded while nobody uses them; ``None`` is no limit.
        loads: the most versions that are loaded at once; who asks about others that are not loaded waits.
    """

    max_models: int = 8
    max_bytes: int | None = None
    loads: int = 2


@dataclass(eq=False)
class _Slot:
    """One version as it was on disk at one time. ``lent`` counts borrowers, which keep it from being evicted."""

    source: Source
    loading: threading.Lock = field(default_factory=threading.Lock)
    entry: Entry | None = None
    lent: int = 0
    used: float = 0.0
    fault: str = ""
    node: str | None = None
    retry_at: float | None = None


class Repository:
    """Models under a root; every method may be called from any thread.

    Args:
        root: a folder in Triton's layout, or a single ONNX file.
        settings: limits.
        engine_settings: how each model is run.
        examiner: examines every model before it is loaded; ``None`` trusts them. Not closed with the repository.
        opener: loads a version; given by tests that need no model.

    Raises:
        ModelError: the root is neither a folder nor an ONNX file.
    """

    def __init__(
        self,
        root: Path,
        settings: RepositorySettings | None = None,
        engine_settings: EngineSettings | None = None,
        *,
        examiner: Examiner | None = None,
        opener: Opener | None = None,
    ) -> None:
        self._root = root
        self._settings = settings or RepositorySettings()
        self._open = opener or partial(open_entry, settings=engine_settings or EngineSettings(), examiner=examiner)
        self._lock = threading.Lock()
        self._loads = threading.BoundedSemaphore(self._settings.loads)
        self._slots: dict[tuple[str, int], _Slot] = {}
        next(scan(root), None)

    def list(self) -> tuple[ModelListing, ...]:
        """Every model on disk, by name, with the state of each version; loads nothing."""
        models = tuple(scan(self._root))
        listed = tuple(
            ModelListing(model.name, tuple(self._listing(source) for source in model.versions), model.fault)
            for model in models
        )
        self._forget({(model.name, source.version) for model in models for source in model.versions})
        return listed

    def load_all(self) -> None:
        """Loads the highest servable version of every model; failures are kept and listed, not raised."""
        for model in self.list():
            try:
                with self.lend(model.name):
                    pass
            except UnpoolError:
                continue

    @contextmanager
    def lend(self, name: str, version: int | None = None) -> Iterator[Entry]:
        """Lends a version for as long as the context lasts; loads it where needed.

        Args:
            name: the model's name.
            version: ``None`` is the highest version that can be served.

        Raises:
            NotFoundError: no such model or version.
            ModelError: it cannot be loaded; the message says why.
        """
        slot, entry = self._borrow(name, version)
        try:
            yield entry
        finally:
            self._give_back(slot)

    def close(self) -> None:
        """Unloads everything that is not lent, and the rest when it comes back."""
        with self._lock:
            slots, self._slots = list(self._slots.values()), {}
            idle = [slot for slot in slots if not slot.lent]
        for slot in idle:
            _unload(slot)

    def _borrow(self, name: str, version: int | None) -> tuple[_Slot, Entry]:
        model = find(self._root, name)
        if model is None:
            self._forget_model(name)
            raise NotFoundError("model", name, (m.name for m in scan(self._root)))
        sources = [s for s in reversed(model.versions) if version is None or s.version == version]
        if not sources:
            if version is None:
                raise ModelError(f"model '{name}': {model.fault}")
            raise NotFoundError("version", f"{name}/{version}", (f"{name}/{s.version}" for s in model.versions))
        first: ModelError | None = None
        for source in sources:
            try:
                return self._load(source)
            except ModelError as error:
                first = first or error
        assert first is not None
        raise first

    def _load(self, source: Source) -> tuple[_Slot, Entry]:
        slot = self._pin(source)
        try:
            with slot.loading:
                if slot.entry is None:
                    self._refuse_failed(slot)
                    slot.entry = self._opened(slot)
                return slot, slot.entry
        except BaseException:
            self._give_back(slot)
            raise

    def _pin(self, source: Source) -> _Slot:
        key = (source.name, source.version)
        stale = None
        with self._lock:
            slot = self._slots.get(key)
            if slot is None or slot.source.signature != source.signature:
                stale = slot if slot is not None and not slot.lent else None
                slot = self._slots[key] = _Slot(source)
            slot.lent += 1
            slot.used = time.monotonic()
        if stale is not None:
            _unload(stale)
        return slot

    def _opened(self, slot: _Slot) -> Entry:
        source = slot.source
        self._make_room(sum(size for _, _, size in source.signature))
        begin = time.perf_counter()
        about = {"model": source.name, "version": source.version}
        try:
            with self._loads:
                entry = self._open(source)
        except Exception as error:
            # Whatever a broken file makes the libraries raise concerns this model alone.
            known = isinstance(error, UnpoolError)
            slot.fault = str(error) if known else _unforeseen(error)
            slot.node = error.node if isinstance(error, ModelError) else None
            # What is not the file's own fault, such as want of memory, may pass.
            passing = not known or (isinstance(error, RefusedError) and error.passing)
            slot.retry_at = time.monotonic() + _RETRY_SECONDS if passing else None
            _log.warning("model unavailable", extra=about | {"reason": slot.fault}, exc_info=not known)
            raise self._unavailable(slot) from error
        slot.fault = ""
        _log.info("model loaded", extra=about | {"seconds": round(time.perf_counter() - begin, 3)})
        return entry

    def _refuse_failed(self, slot: _Slot) -> None:
        if slot.fault and (slot.retry_at is None or time.monotonic() < slot.retry_at):
            raise self._unavailable(slot)

    def _unavailable(self, slot: _Slot) -> ModelError:
        source = slot.source
        return ModelError(
            f"model '{source.name}' version {source.version} is unavailable: {slot.fault}", node=slot.node
        )

    def _give_back(self, slot: _Slot) -> None:
        with self._lock:
            slot.lent -= 1
            slot.used = time.monotonic()
            replaced = self._slots.get((slot.source.name, slot.source.version)) is not slot
            ended = replaced and not slot.lent
        if ended:
            _unload(slot)
        self._make_room(0)

    def _make_room(self, size: int) -> None:
        """Evicts the longest unused, never what is lent, until one more of ``size`` bytes fits (0: none more)."""
        evicted = []
        with self._lock:
            loaded = [s for s in self._slots.values() if s.entry is not None]
            count = len(loaded) + (1 if size else 0)
            total = size + sum(s.entry.held for s in loaded if s.entry is not None)
            most = self._settings.max_bytes
            for slot in sorted((s for s in loaded if not s.lent), key=lambda s: s.used):
                if count <= self._settings.max_models and (most is None or total <= most):
                    break
                assert slot.entry is not None
                count, total = count - 1, total - slot.entry.held
                # A new slot takes its place, so that whoever pins next cannot meet one that is being closed.
                del self._slots[slot.source.name, slot.source.version]
                evicted.append(slot)
        for slot in evicted:
            _log.info("model evicted", extra={"model": slot.source.name, "version": slot.source.version})
            _unload(slot)

    def _listing(self, source: Source) -> VersionListing:
        if source.fault:
            return VersionListing(source.version, State.UNAVAILABLE, source.fault)
        with self._lock:
            slot = self._slots.get((source.name, source.version))
            if slot is None or slot.source.signature != source.signature:
                return VersionListing(source.version, State.AVAILABLE)
            if slot.fault:
                return VersionListing(source.version, State.UNAVAILABLE, slot.fault)
            return VersionListing(source.version, State.LOADED if slot.entry is not None else State.AVAILABLE)

    def _forget_model(self, name: str) -> None:
        with self._lock:
            keep = {key for key in self._slots if key[0] != name}
        self._forget(keep)

    def _forget(self, existing: set[tuple[str, int]]) -> None:
        """Drops the slots of versions that are gone from the disk; lent ones end when they come back."""
        with self._lock:
            gone = [self._slots.pop(key) for key in set(self._slots) - existing]
            idle = [slot for slot in gone if not slot.lent]
        for slot in idle:
            _unload(slot)


def _unload(slot: _Slot) -> None:
    entry, slot.entry = slot.entry, None
    if entry is not None:
        entry.engine.close()


def _unforeseen(error: Exception) -> str:
    """Why a model that was examined cannot be loaded all the same; the words of libraries are for the log."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be loaded: {error.strerror}"
    if isinstance(error, MemoryError):
        return "cannot be loaded: there is not enough memory for it now"
    return "cannot be loaded, for a reason that is not foreseen; the server's log has more"
