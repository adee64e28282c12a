"""One model of a repository on disk, written so that a reader never meets half of it.

The layout is Triton's: `<root>/<name>/<version>/model.onnx`, and beside the versions `labels.txt` (one per line) and
`preprocessor_config.json`.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unpool.converters.errors import ConversionError
from unpool.converters.preprocessing import Preprocessing

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Entry:
    """Where a model goes and what lies beside it.

    Attributes:
        root: the repository's folder, made where it is missing.
        name: letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
        version: positive integer.
        labels: class names in the order of the output, or None to leave those that are there.
        preprocessing: from pictures to tensors, or None to leave what is there.
        overwrite: whether an existing version, and differing files beside it, are replaced.
    """

    root: Path
    name: str
    version: int = 1
    labels: Sequence[str] | None = None
    preprocessing: Preprocessing | None = None
    overwrite: bool = False

    @property
    def path(self) -> Path:
        """The model's file."""
        return self.root / self.name / str(self.version) / "model.onnx"

    def check(self) -> None:
        """Refuse what could not be written, before a slow export.

        Raises:
            ConversionError: bad name or version, a label with a line break, the version exists, or the files beside
                the versions would change without `overwrite`.
        """
        if not _NAME.fullmatch(self.name):
            raise ConversionError(f"model name {self.name!r}: use letters, digits, '.', '_' and '-'")
        if self.version < 1:
            raise ConversionError(f"version {self.version}: versions are positive integers")
        if self.labels is not None and any("\n" in label or "\r" in label for label in self.labels):
            raise ConversionError("a label holds a line break; labels.txt has one label per line")
        if self.overwrite:
            return
        if self.path.parent.exists():
            raise ConversionError(f"{self.path.parent} exists; choose another version, or overwrite it")
        for name, text in self._beside().items():
            there = self.root / self.name / name
            if there.exists() and there.read_text(encoding="utf-8") != text:
                raise ConversionError(f"{there} differs and serves the other versions too; overwrite to replace it")

    def write(self, put_model: Callable[[Path], None]) -> Path:
        """Write the entry; `put_model(folder)` makes `folder/model.onnx`.

        Returns:
            The model's file.

        Raises:
            ConversionError: as `check`.
        """
        self.check()
        self.root.mkdir(parents=True, exist_ok=True)
        # On the same file system as its destination, and hidden, so that a server scanning the root passes it by.
        with tempfile.TemporaryDirectory(prefix=f".{self.name}-", dir=self.root) as scratch:
            staged = Path(scratch) / self.name
            version = staged / str(self.version)
            version.mkdir(parents=True)
            put_model(version)
            for name, text in self._beside().items():
                (staged / name).write_text(text, encoding="utf-8")
            self._place(staged, Path(scratch) / "replaced")
        return self.path

    def _place(self, staged: Path, replaced: Path) -> None:
        target = self.root / self.name
        if not target.exists():
            staged.rename(target)
            return
        # The version comes last: whoever sees it finds its labels already there.
        for name in self._beside():
            os.replace(staged / name, target / name)  # noqa: PTH105 - replaces on every platform
        destination = target / str(self.version)
        if destination.exists():
            destination.rename(replaced)
        (staged / str(self.version)).rename(destination)

    def _beside(self) -> dict[str, str]:
        files: dict[str, str] = {}
        if self.labels is not None:
            files["labels.txt"] = "".join(f"{label}\n" for label in self.labels)
        if self.preprocessing is not None:
            files["preprocessor_config.json"] = self.preprocessing.to_json()
        return files


def copy_model(source: Path, external: Sequence[str], folder: Path) -> None:
    """Copy a third party's model and the files that hold its weights, byte for byte.

    Args:
        source: the ONNX file.
        external: locations of external data, relative to it.
        folder: where `model.onnx` goes.

    Raises:
        ConversionError: an external file lies outside the model's own folder, or is missing.
    """
    shutil.copyfile(source, folder / "model.onnx")
    home = source.resolve().parent
    for location in external:
        file = (home / location).resolve()
        if not file.is_relative_to(home):
            raise ConversionError(f"{source.name} keeps weights outside its folder: {location}")
        if not file.is_file():
            raise ConversionError(f"{source.name} keeps weights in {location}, which is missing")
        copied = folder / location
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copied)
