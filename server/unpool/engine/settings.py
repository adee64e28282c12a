"""How much of a machine an engine may use."""

from __future__ import annotations

import os
from dataclasses import dataclass


def available_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@dataclass(frozen=True)
class EngineSettings:
    """Limits of one engine.

    Attributes:
        device: ``auto`` (the first GPU where ONNX Runtime and torch both see one, else the CPU), ``cpu`` or ``cuda:N``.
        threads: threads for ONNX Runtime and for torch, which take turns; ``None`` is one per core.
        capture_bytes: how much captured data is kept over all inputs.
        request_bytes: how much memory one input may take inside the model, by an estimate from its shapes.
        piece_bytes: how much signal the walk carries at once.
        piece_operations: about how many multiply-adds a piece of forward work may take; counted, not timed, so that
            the same question is cut into the same pieces each time. A quarter of a second on two cores.
        sessions: how many capture sessions are kept.
        verify: check every new capture session against an unoptimised one on its first input.
    """

    device: str = "auto"
    threads: int | None = None
    capture_bytes: int = 512 << 20
    request_bytes: int = 4 << 30
    piece_bytes: int = 8 << 20
    piece_operations: float = 16e9
    sessions: int = 8
    verify: bool = True

    @property
    def thread_count(self) -> int:
        """Threads to use."""
        return self.threads or available_cores()
