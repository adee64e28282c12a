"""Where a verb's question goes: a server that is named, or an embedded one on a file or folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from unpool.client.blocking import Client
from unpool.client.errors import InvalidArgumentError, UnavailableError
from unpool.client.transport import DEFAULT_TARGET

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        "-s",
        metavar="HOST:PORT",
        envvar="UNPOOL_SERVER",
        help=f"The server to ask. Default: {DEFAULT_TARGET}, or an embedded one where a path is given.",
    ),
]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Name of a model on the server; or, with no server named, an .onnx file, or the path (with a slash) of a "
        "model's folder in a repository, or of a repository of one model.",
        show_default=False,
    ),
]
VersionOption = Annotated[
    int | None, typer.Option("--version", min=1, metavar="N", help="Version of the model. Default: the highest.")
]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout", min=0.001, metavar="SECONDS", help="Longest time that a call may take.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable: JSON on standard output.")]


@contextmanager
def connect(model: str | None, server: str | None, timeout: float | None) -> Iterator[tuple[Client, str]]:
    """Connects to where a model is served, and starts an embedded server where it is a path and no server is named.

    Args:
        model: a name or a path; ``None`` where no model is asked about.
        server: the address given, if any.
        timeout: seconds for each call.

    Yields:
        The client, and the name of the model on its server (empty for ``None``).

    Raises:
        InvalidArgumentError: what looks like a path is none, or names a repository of several models.
        UnpoolError: the embedded server did not start.
    """
    path = None if server or model is None else _path(model)
    if path is None:
        with Client(server or DEFAULT_TARGET, timeout=timeout) as client:
            try:
                yield client, model or ""
            except UnavailableError as error:
                if not server:
                    error.message += "; start one with 'unpool serve --models DIR', or name it with --server"
                raise
        return
    # Inside a repository a model's folder holds numbered versions: the repository is the folder around it.
    is_entry = path.is_dir() and any(child.is_dir() and child.name.isdecimal() for child in path.iterdir())
    with Console(stderr=True).status("starting an embedded server ..."):
        client = Client.embedded(path.parent if is_entry else path, timeout=timeout)
    with client:
        yield client, path.name if is_entry else _only_model(client, path)


def beside(model: str, name: str, other: str, server: str | None) -> str:
    """The name of a second model on the server that ``connect`` found for the first.

    Args:
        model: the first, as ``connect`` was given it.
        name: the first, as ``connect`` gave it.
        other: the second, a name or a path.
        server: the address given, if any.

    Raises:
        InvalidArgumentError: one is a path and the other is none, or they lie in different repositories.
    """
    first, second = (None, None) if server else (_path(model), _path(other))
    if first is None and second is None:
        return other
    if first is None or second is None:
        raise InvalidArgumentError(f"{model} and {other}: give two paths, or two names", field="OTHER")
    if first == second:
        return name
    if first.suffix == ".onnx" or second.suffix == ".onnx" or first.parent != second.parent:
        raise InvalidArgumentError(
            f"{other} lies in another repository than {model}; an embedded server has one: put them side by side as "
            "NAME/VERSION/model.onnx",
            field="OTHER",
        )
    return second.name


def _path(model: str) -> Path | None:
    # Whether something of that name lies in the current folder must not decide: the name of a model stays a name.
    if not (model.endswith(".onnx") or os.sep in model or model in (".", "..")):
        return None
    path = Path(model)
    if not path.exists():
        raise InvalidArgumentError(f"no such file or folder: {model}", field="MODEL")
    return path.resolve()


def _only_model(client: Client, path: Path) -> str:
    names = [model.name for model in client.models()]
    if len(names) == 1:
        return names[0]
    some = f"one of {', '.join(str(path / name) for name in names[:5])}" if names else "a repository with a model"
    raise InvalidArgumentError(f"{path} holds {len(names)} models; name {some}", field="MODEL")
