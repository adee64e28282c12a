"""Names of a model's classes, one per line."""

from __future__ import annotations

from unpool.graph.errors import ModelError
from unpool.repository.layout import LABELS, Source


def read_labels(source: Source) -> tuple[str, ...]:
    """The labels of a version: ``labels.txt``, else what ``config.pbtxt`` names for the first output, else none.

    Raises:
        ModelError: a file is named and missing, lies outside the model's folder, or is not UTF-8.
    """
    path = source.beside(LABELS)
    if path is None:
        for output, filename in source.config.label_files.items():
            path = source.beside(filename)
            if path is None:
                raise ModelError(
                    f"config.pbtxt names the labels '{filename}' for output '{output}': there is no such file"
                )
            break
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path.name} is not UTF-8") from error
    return tuple(line.strip() for line in text.rstrip("\r\n").split("\n")) if text.strip() else ()
