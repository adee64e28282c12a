"""``unpool models``: what a server has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unpool.client.blocking import Client
from unpool.client.commands.connection import JsonOption, ServerOption, TimeoutOption, connect
from unpool.client.commands.output import print_json, print_table
from unpool.client.errors import InvalidArgumentError
from unpool.client.listing import ModelSummary


def models(
    repository: Annotated[
        str | None,
        typer.Argument(metavar="[PATH]", help="With no server named: a repository, or an .onnx file, to list."),
    ] = None,
    server: ServerOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the models of a server or a repository, with those that cannot be served and why."""
    found = _listing(repository, server, timeout)
    if as_json:
        print_json({"models": found})
        return
    rows: list[tuple[object, ...]] = []
    for model in found:
        if not model.versions:
            rows.append((model.name, "", "unavailable", model.reason))
        for version in model.versions:
            rows.append((model.name, version.version, version.state, version.reason))
    print_table(("MODEL", "VERSION", "STATE", "REASON"), rows, right=(1,))


def _listing(repository: str | None, server: str | None, timeout: float | None) -> tuple[ModelSummary, ...]:
    if repository is None:
        with connect(None, server, timeout) as (client, _):
            return client.models()
    path = Path(repository)
    if not path.exists():
        raise InvalidArgumentError(f"no such file or folder: {path}", field="PATH")
    with Client.embedded(path, timeout=timeout) as client:
        return client.models()
