"""A folder of model files built on first use, safe under parallel test processes."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

RECIPE_VERSION = 1
"""Raise it when a recipe changes what it writes."""


def folder() -> Path:
    """`$UNPOOL_TEST_CACHE` or `tests/.cache`, one folder per recipe version."""
    configured = os.environ.get("UNPOOL_TEST_CACHE")
    root = Path(configured) if configured else Path(__file__).resolve().parent.parent / ".cache"
    root.mkdir(parents=True, exist_ok=True)
    (root / ".gitignore").write_text("*\n")
    path = root / f"v{RECIPE_VERSION}"
    path.mkdir(exist_ok=True)
    return path


def cached(name: str, build: Callable[[Path], None]) -> Path:
    """The file `name`, built by `build(path)` where it is missing.

    One process builds, the others wait for it; a file is renamed into place only when it is complete.
    """
    target = folder() / name
    if target.exists():
        return target
    with (folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=folder()) as scratch:
                made = Path(scratch) / name
                build(made)
                made.replace(target)
    return target
