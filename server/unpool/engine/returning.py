"""Giving memory back: what the C library keeps of freed blocks between blocks that are still in use."""

from __future__ import annotations

import ctypes
import time
from functools import cache
from typing import Any

_SECONDS = 0.1
_SHARE = 50
"""A call waits for as many times what the last one took, so that all of them take two hundredths of the time."""
_next = 0.0


@cache
def _trim() -> Any:
    """``malloc_trim`` of glibc; ``None`` where the C library is another."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None


def give_back() -> None:
    """Returns freed memory to the system, at most ten times a second.

    Work in pieces of many sizes leaves holes that the next piece does not fit, so that a long run grows without end
    though it holds no more: 0.1 MiB for each position of an occlusion of AlexNet.
    """
    global _next
    began = time.monotonic()
    if began < _next or (trim := _trim()) is None:
        return
    trim(0)
    ended = time.monotonic()
    _next = ended + max(_SECONDS, _SHARE * (ended - began))
