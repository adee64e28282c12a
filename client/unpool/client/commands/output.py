"""What the verbs say: results on standard output, everything else on standard error."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

_NO_WRAP = 100_000


def fail(message: str) -> None:
    """Writes an error to standard error."""
    Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)


def warn(messages: Iterable[str]) -> None:
    """Writes warnings to standard error."""
    console = Console(stderr=True, highlight=False)
    for message in messages:
        console.print(f"[yellow]warning:[/] {escape(message)}", soft_wrap=True)


def say(message: str) -> None:
    """Writes a remark to standard error."""
    Console(stderr=True, highlight=False).print(escape(message), soft_wrap=True)


def print_json(value: object) -> None:
    """Writes one JSON object as one line to standard output."""
    print(json.dumps(plain(value), allow_nan=False, ensure_ascii=False), flush=True)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = ()) -> None:
    """Writes a table to standard output; ``right`` are the columns aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    # Into a file or a pipe nothing is wrapped: a reader of lines wants whole lines.
    Console(highlight=False, width=None if sys.stdout.isatty() else _NO_WRAP).print(table)


def progress() -> Progress:
    """A progress bar on standard error that goes when it is done; where that is no terminal, none."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not Console(stderr=True).is_terminal,
    )


def plain(value: object) -> object:
    """A value as JSON has it: dataclasses as objects, arrays left out, numbers that JSON lacks as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.repr}
        return {name: plain(item) for name, item in fields.items() if not isinstance(item, np.ndarray | bytes)}
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
