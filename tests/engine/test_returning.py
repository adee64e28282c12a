"""Freed memory goes back to the system although blocks in use stand between."""

import ctypes

import numpy as np
import psutil
import pytest

from unpool.engine import returning


def _resident() -> int:
    return psutil.Process().memory_info().rss


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_holes_between_blocks_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returning, "_next", 0.0)
    blocks: list[np.ndarray | None] = [np.ones(4096) for _ in range(4000)]  # 32 KiB each, 125 MiB in all
    for i in range(0, len(blocks), 2):
        blocks[i] = None
    before = _resident()
    returning.give_back()
    given = before - _resident()
    assert given > 40 << 20, f"{given >> 20} MiB of 62"
    assert all(b is None or b[-1] == 1 for b in blocks)


def test_calls_that_follow_at_once_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(returning, "_next", 0.0)
    monkeypatch.setattr(returning, "_trim", lambda: calls.append)
    for _ in range(5):
        returning.give_back()
    assert calls == [0]
