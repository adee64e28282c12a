"""A folder of picture files; the first folder below it names a picture's class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import fsspec

from unpool.exemplars.dataset import Record
from unpool.exemplars.opening import File


@dataclass(frozen=True, eq=False)
class PictureFolder:
    """Picture files in the order of their names."""

    uri: str
    fingerprint: str
    system: fsspec.AbstractFileSystem
    files: list[File]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Sequence[int]) -> Iterator[Record]:
        """The files' bytes; one that is gone, or may not be read, comes with its fault."""
        for index in indices:
            file = self.files[index]
            label = file.name.split("/")[0] if "/" in file.name else ""
            try:
                yield Record(index, file.name, label, encoded=self.system.cat_file(file.path))
            except Exception as error:  # every file system raises its own
                yield Record(index, file.name, label, fault=f"cannot be read: {type(error).__name__}")
