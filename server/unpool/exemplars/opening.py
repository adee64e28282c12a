"""From a URI to an open data set: what kind it is, which files belong to it, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from unpool.exemplars.dataset import DataSet
from unpool.exemplars.roots import Roots, local_path
from unpool.graph.errors import InvalidArgumentError, PreconditionError

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
TABLES = frozenset({".parquet"})
ARRAYS = frozenset({".npy", ".npz"})


@dataclass(frozen=True)
class File:
    """A file of a data set: its path in its file system, its name below the data set, its size in bytes."""

    path: str
    name: str
    size: int


def open_dataset(uri: str, roots: Roots, *, field: str = "dataset") -> DataSet:
    """Opens a data set: a folder of pictures, Parquet with pictures, or NumPy arrays.

    Args:
        uri: a local path, or any URI that fsspec opens; a file, or a folder that is searched with all below it.
        roots: where data may be read.
        field: named by errors.

    Raises:
        InvalidArgumentError: outside the roots, not readable, or nothing in it that is known.
        PreconditionError: a library for its scheme is not installed.
    """
    where = roots.check(uri, field)
    try:
        system, base = fsspec.core.url_to_fs(where)
        base = base.rstrip("/") or base
        found: Mapping[str, Mapping[str, Any]] = (
            {base: system.info(base)} if system.isfile(base) else system.find(base, detail=True)
        )
    except ImportError as error:
        raise PreconditionError(f"'{uri}' cannot be opened: {error}") from error
    except Exception as error:  # every file system raises its own
        raise InvalidArgumentError(field, f"'{uri[:200]}' cannot be read: {_reason(error)}") from error
    local = local_path(where) is not None
    files, stamps = [], []
    for path in sorted(found):
        name = posixpath.relpath(path, base) if path != base else posixpath.basename(path)
        # A link inside a folder may lead out of the roots.
        if any(part.startswith(".") for part in name.split("/")) or (local and not roots.holds(Path(path))):
            continue
        info = found[path]
        files.append(File(path, name, int(info.get("size") or 0)))
        stamps.append([name, int(info.get("size") or 0), _stamp(info)])
    for kinds in (TABLES, ARRAYS, PICTURES):
        kept = [i for i, file in enumerate(files) if posixpath.splitext(file.name)[1].lower() in kinds]
        if kept:
            digest = hashlib.sha256(json.dumps([stamps[i] for i in kept]).encode()).hexdigest()
            return _opened(kinds, where, digest, system, [files[i] for i in kept])
    if not found:
        raise InvalidArgumentError(field, f"there is nothing at '{uri[:200]}'")
    raise InvalidArgumentError(
        field, f"'{uri[:200]}' holds neither pictures ({', '.join(sorted(PICTURES))}) nor Parquet nor NumPy arrays"
    )


def _opened(
    kinds: frozenset[str], uri: str, digest: str, system: fsspec.AbstractFileSystem, files: list[File]
) -> DataSet:
    # Libraries that a kind needs are imported for it alone.
    if kinds is PICTURES:
        from unpool.exemplars.folders import PictureFolder

        return PictureFolder(uri, digest, system, files)
    if kinds is TABLES:
        from unpool.exemplars.tables import PictureTable

        return PictureTable(uri, digest, system, files)
    from unpool.exemplars.arrays import ArrayFiles

    return ArrayFiles(uri, digest, system, files)


def _stamp(info: Mapping[str, Any]) -> str:
    """What changes when a file does, in the words of its file system."""
    for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created"):
        if info.get(key) is not None:
            return f"{key}={info[key]}"
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is nothing"
    return f"{type(error).__name__}: {str(error)[:200]}" if str(error) else type(error).__name__
