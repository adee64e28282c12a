"""Which models lie under a root: Triton's layout, ``<root>/<name>/<version>/model.onnx``, or a single ONNX file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from unpool.graph.errors import ModelError
from unpool.repository.triton import TritonConfig, parse

LABELS = "labels.txt"
PREPROCESSING = "preprocessor_config.json"
CONFIG = "config.pbtxt"
# What the file systems at hand take as one component, in bytes; they raise at longer ones.
_LONGEST_NAME = 255
_VERSION = re.compile(r"[1-9][0-9]{0,17}")

Signature: TypeAlias = tuple[tuple[str, int, int], ...]
"""(path, modification time in nanoseconds, size in bytes) of every file that a version is made of."""


@dataclass(frozen=True)
class Source:
    """One version of a model on disk.

    Attributes:
        name: the model's name.
        version: a positive integer.
        file: the ONNX file.
        folders: where the files beside it are looked for, first hit counts.
        config: what ``config.pbtxt`` says.
        signature: changes when a file does.
        fault: why it cannot be loaded, as far as the files' names tell; empty where nothing is wrong.
    """

    name: str
    version: int
    file: Path
    folders: tuple[Path, ...]
    config: TritonConfig
    signature: Signature
    fault: str = ""

    def beside(self, filename: str) -> Path | None:
        """The file of this name that belongs to the version.

        Raises:
            ModelError: the name leads out of the model's folders.
        """
        for folder in self.folders:
            path = folder / filename
            if not path.resolve().is_relative_to(folder.resolve()) and Path(filename).name != filename:
                raise ModelError(f"'{filename}' lies outside the model's folder")
            if path.is_file():
                return path
        return None


@dataclass(frozen=True)
class Sources:
    """A model on disk: its versions, ascending, and why there are none where there are none."""

    name: str
    versions: tuple[Source, ...]
    fault: str = ""


def scan(root: Path) -> Iterator[Sources]:
    """Every model under the root, by name.

    Raises:
        ModelError: the root is neither a folder nor an ONNX file.
    """
    if _is_model(root):
        yield _single(root)
    elif root.is_dir():
        for folder in sorted(root.iterdir()):
            if folder.is_dir() and not folder.name.startswith("."):
                yield _folder(folder)
    else:
        raise ModelError(f"no model repository at {root}: neither a folder nor an ONNX file (.onnx)")


def find(root: Path, name: str) -> Sources | None:
    """One model, without looking at the others."""
    if _is_model(root):
        return _single(root) if root.stem == name else None
    # A name is one component: what a caller sends never walks the disk.
    if not name or name.startswith(".") or Path(name).name != name or "\0" in name or "\\" in name:
        return None
    if len(name.encode()) > _LONGEST_NAME:
        return None
    folder = root / name
    return _folder(folder) if folder.is_dir() else None


def _is_model(root: Path) -> bool:
    return root.suffix == ".onnx" and root.is_file()


def _single(file: Path) -> Sources:
    parent = file.parent
    folders = (parent, parent.parent) if _VERSION.fullmatch(parent.name) else (parent,)
    config, fault = _config(folders)
    return Sources(file.stem, (_source(file.stem, 1, file, folders, config, fault, extra=()),))


def _folder(folder: Path) -> Sources:
    versions = []
    for child in sorted(folder.iterdir()):
        if _VERSION.fullmatch(child.name) and child.is_dir():
            folders = (child, folder)
            config, fault = _config(folders)
            if config.name and config.name != folder.name and not fault:
                fault = f"config.pbtxt names the model '{config.name}', its folder '{folder.name}'"
            file = child / config.model_file
            if Path(config.model_file).name != config.model_file:
                fault = fault or f"default_model_filename '{config.model_file}' is not a file name"
            elif file.is_dir():
                # Triton's way to keep external data together: a folder of the model's name.
                file = file / config.model_file
            extra = tuple(sorted(p for p in file.parent.iterdir() if p.is_file())) if file.parent.is_dir() else ()
            versions.append(_source(folder.name, int(child.name), file, folders, config, fault, extra))
    versions.sort(key=lambda source: source.version)
    return Sources(
        folder.name, tuple(versions), "" if versions else "no version: no folder named by a positive integer"
    )


def _config(folders: tuple[Path, ...]) -> tuple[TritonConfig, str]:
    for folder in folders:
        path = folder / CONFIG
        if path.is_file():
            try:
                return parse(path.read_text(encoding="utf-8")), ""
            except (ModelError, OSError, UnicodeDecodeError) as error:
                return TritonConfig(), f"{CONFIG}: {error}"
    return TritonConfig(), ""


def _source(
    name: str,
    version: int,
    file: Path,
    folders: tuple[Path, ...],
    config: TritonConfig,
    fault: str,
    extra: tuple[Path, ...],
) -> Source:
    names = (LABELS, PREPROCESSING, CONFIG, *config.label_files.values())
    watched = {file, *extra, *(folder / n for folder in folders for n in names)}
    signature = []
    for path in sorted(watched):
        try:
            stat = path.stat()
        except OSError:
            continue
        signature.append((str(path), stat.st_mtime_ns, stat.st_size))
    if not fault and not file.is_file():
        fault = f"no file {file.name} in version {version}"
    elif not fault and file.stat().st_size == 0:
        fault = f"{file.name} is empty"
    return Source(name, version, file, folders, config, tuple(signature), fault)
