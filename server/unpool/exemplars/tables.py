"""Parquet with pictures in it, in the layout of Hugging Face data sets: a column of ``{bytes, path}`` or of bytes."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from unpool.exemplars.dataset import Record
from unpool.exemplars.opening import File
from unpool.graph.errors import InvalidArgumentError

_KEPT = 2
_LABELS = ("label", "labels", "fine_label", "class", "category")


class PictureTable:
    """Rows of Parquet files, in the order of the files' names.

    Raises:
        InvalidArgumentError: a file that is not Parquet, or no column of picture files.
    """

    def __init__(self, uri: str, fingerprint: str, system: fsspec.AbstractFileSystem, files: Sequence[File]) -> None:
        self.uri = uri
        self.fingerprint = fingerprint
        self._system = system
        self._files = tuple(files)
        self._groups: list[tuple[int, int]] = []
        sizes: list[int] = []
        for number, file in enumerate(self._files):
            try:
                with system.open(file.path, "rb") as stream:
                    found = pq.ParquetFile(stream)
                    sizes += [found.metadata.row_group(i).num_rows for i in range(found.metadata.num_row_groups)]
                    self._groups += [(number, i) for i in range(found.metadata.num_row_groups)]
                    schema = found.schema_arrow
            except (pa.ArrowException, OSError, ValueError) as error:
                raise InvalidArgumentError("dataset", f"'{file.name}' is not Parquet: {str(error)[:200]}") from error
            if number == 0:
                self._image, self._label = _columns(schema, file.name)
                self._names = _class_names(schema, self._label)
            elif self._image not in schema.names:
                raise InvalidArgumentError("dataset", f"'{file.name}' has no column '{self._image}' as the others do")
        self._begins = [0, *accumulate(sizes)]
        self._first: dict[int, int] = {}
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = threading.Lock()
        for (number, _), begin in zip(self._groups, self._begins, strict=False):
            self._first.setdefault(number, begin)

    def __len__(self) -> int:
        return self._begins[-1]

    def read(self, indices: Sequence[int]) -> Iterator[Record]:
        """The rows; a row group is read once for all of its rows that are asked for together."""
        for group, asked in groupby(indices, lambda index: bisect_right(self._begins, index) - 1):
            yield from self._rows(group, list(asked))

    def _rows(self, group: int, indices: list[int]) -> Iterator[Record]:
        number, part = self._groups[group]
        file = self._files[number]
        table = self._table(group, file, part)
        for index in indices:
            row = index - self._begins[group]
            key = f"{file.name}#{index - self._first[number]}"
            label = self._named(table[self._label][row].as_py()) if self._label else ""
            value = table[self._image][row].as_py()
            encoded = value.get("bytes") if isinstance(value, dict) else value
            if encoded:
                yield Record(index, key, label, encoded=encoded)
            else:
                yield Record(index, key, label, fault="holds no picture's bytes")

    def _table(self, group: int, file: File, part: int) -> pa.Table:
        """A row group; the last ones are kept, for readers of a few rows each that work side by side."""
        with self._lock:
            if group not in self._kept:
                columns = [self._image, *([self._label] if self._label else [])]
                with self._system.open(file.path, "rb") as stream:
                    self._kept[group] = pq.ParquetFile(stream).read_row_group(part, columns=columns)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return self._kept[group]

    def _named(self, label: object) -> str:
        if isinstance(label, int) and 0 <= label < len(self._names):
            return self._names[label]
        return "" if label is None else str(label)


def _columns(schema: pa.Schema, name: str) -> tuple[str, str]:
    """The columns of pictures and of labels (empty where there is none)."""

    def holds(kind: pa.DataType) -> bool:
        if pa.types.is_struct(kind):
            return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    pictures = [field.name for field in schema if holds(field.type)]
    if not pictures:
        raise InvalidArgumentError(
            "dataset",
            f"'{name}' has no column of picture files, {{bytes, path}} or bytes; its columns are "
            f"{', '.join(schema.names[:20])}",
        )
    image = next((n for n in ("image", "img") if n in pictures), pictures[0])
    return image, next((n for n in _LABELS if n in schema.names), "")


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """Names of the classes, which Hugging Face keeps in the schema's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(map(str, features[label]["names"]))
    except (KeyError, TypeError, ValueError):
        return ()
