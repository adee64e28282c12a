"""What native libraries keep of the heap: bounded caches, and large blocks that leave no holes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_CACHES = {"LRU_CACHE_CAPACITY": "1", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128"}
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGE = 256 << 10
_LARGEST = 32 << 20
"""Where glibc's own threshold ends up once a block of this size has been freed."""


def bound_caches() -> None:
    """Bounds what torch's convolutions remember, before the first of them; what a user has set stays.

    Torch and oneDNN each keep 27 KiB of every different shape, a thousand of them, and boxes come in thousands of
    shapes. Making a convolution anew takes 0.1 ms; with oneDNN's own cache, torch's second one saves nothing.
    """
    for name, capacity in _CACHES.items():
        os.environ.setdefault(name, capacity)


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Blocks of 256 KiB and more that the heap has no room for come from the system, and go back when they are freed.

    From the heap, blocks of many sizes leave holes that the next does not fit, so that a long run grows without end
    though it holds no more: 0.1 MiB for each position of an occlusion of AlexNet.
    """
    setting = _mallopt()
    if setting is None:
        yield
        return
    setting(_MMAP_THRESHOLD, _LARGE)
    try:
        yield
    finally:
        # Setting a threshold ends glibc's own adjusting, so that it is put where that would have brought it.
        setting(_MMAP_THRESHOLD, _LARGEST)
        setting(_TRIM_THRESHOLD, 2 * _LARGEST)


@cache
def _mallopt() -> Any:
    """``mallopt`` of glibc; ``None`` where the C library is another."""
    try:
        library = ctypes.CDLL(None)
        return library.mallopt if hasattr(library, "gnu_get_libc_version") else None
    except (OSError, AttributeError, TypeError):
        return None
