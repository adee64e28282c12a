"""What a benchmark prints: the peer, this, the ratio, what was asked for, and the settings that produced it."""

from __future__ import annotations

import gc
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Line:
    """One measured figure.

    Attributes:
        what: the work.
        peer: who else did it, and in what time (seconds) or size.
        this: unpool's.
        ratio: peer over this for times (higher is better), this over peer where ``lower`` is set.
        asked: what the ratio should reach, or stay below where ``lower`` is set; ``None`` where nothing is asked.
        lower: a ratio that should be small.
        note: settings, bounds, shares.
    """

    what: str
    peer: str
    this: str
    ratio: float
    asked: float | None = None
    lower: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether what was asked for is reached."""
        if self.asked is None:
            return None
        return self.ratio <= self.asked if self.lower else self.ratio >= self.asked


@dataclass
class Report:
    """Lines as they are measured."""

    lines: list[Line] = field(default_factory=list)

    def add(self, line: Line) -> None:
        """Takes a line and shows that it has come."""
        self.lines.append(line)
        mark = {True: "met", False: "NOT met", None: ""}[line.met]
        Console(stderr=True, highlight=False).print(f"{line.what}: {line.ratio:.2f} {mark} {line.note}")

    def show(self) -> None:
        """Prints the whole table."""
        table = Table(title=f"unpool benchmarks, {settings()}")
        for column in ("work", "peer", "unpool", "ratio", "asked", "met", "note"):
            table.add_column(column, overflow="fold")
        for line in self.lines:
            asked = "" if line.asked is None else f"{'≤' if line.lower else '≥'} {line.asked:g}"
            met = {True: "yes", False: "no", None: ""}[line.met]
            table.add_row(line.what, line.peer, line.this, f"{line.ratio:.2f}", asked, met, line.note)
        Console(highlight=False, width=180).print(table)

    def save(self, path: Path) -> None:
        """Writes the lines as JSON."""
        rows = [{**asdict(line), "met": line.met} for line in self.lines]
        path.write_text(json.dumps({"settings": settings(), "lines": rows}, indent=1))


def settings() -> str:
    """The machine and the versions, in one line."""
    import onnxruntime
    import torch

    from unpool.engine.settings import available_cores

    return (
        f"{available_cores()} cores {platform.machine()}, torch {torch.__version__},"
        f" onnxruntime {onnxruntime.__version__}, python {platform.python_version()}"
    )


def seconds(work: Callable[[], object], *, runs: int = 3, warm: int = 1) -> float:
    """The median wall time of some runs."""
    for _ in range(warm):
        work()
    found = []
    for _ in range(runs):
        gc.collect()
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def paired(first: Callable[[], object], second: Callable[[], object], *, runs: int = 5) -> tuple[float, float, float]:
    """Two pieces of work in turn, so that a drifting machine strikes both.

    Returns:
        Their median times, and the median of their ratios, first over second.
    """
    first(), second()
    times: list[tuple[float, float]] = []
    for _ in range(runs):
        gc.collect()
        a = time.perf_counter()
        first()
        b = time.perf_counter()
        second()
        times.append((b - a, time.perf_counter() - b))
    a, b = (statistics.median(t) for t in zip(*times, strict=True))
    return a, b, statistics.median(x / y for x, y in times)


def drain(items: Iterable[object]) -> int:
    """Runs through an iterator and counts what is not a tick."""
    return sum(item is not None for item in items)
