"""Garbage collection held back while a model is read: what is made stays, and looking it through costs a quarter."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_holding = 0
_were_on = False


@contextmanager
def garbage_kept() -> Iterator[None]:
    """Lets no cycles be collected inside; for work of about a second. Nests, also across threads."""
    global _holding, _were_on
    with _lock:
        if not _holding:
            _were_on = gc.isenabled()
            gc.disable()
        _holding += 1
    try:
        yield
    finally:
        with _lock:
            _holding -= 1
            if not _holding and _were_on:
                gc.enable()
