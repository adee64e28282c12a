"""``python -m benchmarks [NAME ...] [--quick] [--json FILE]``: runs the benchmarks and prints one table."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.report import Report

NAMES = ("projection", "capturing", "admission", "service", "whole_planes", "forward", "exemplars", "occlusion")


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Which: {', '.join(NAMES)}; all by default.")] = None,
    quick: Annotated[bool, typer.Option(help="Fewer repetitions of the slow peers.")] = False,
    json: Annotated[Path | None, typer.Option(help="Also write the lines here.")] = None,
) -> None:
    """Runs benchmarks beside their peers."""
    report = Report()
    for name in names or NAMES:
        if name not in NAMES:
            raise typer.BadParameter(f"'{name}' is none of {', '.join(NAMES)}")
        importlib.import_module(f"benchmarks.{name}").run(report, quick=quick)
    report.show()
    if json:
        report.save(json)


if __name__ == "__main__":
    typer.run(main)
