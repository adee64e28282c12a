"""``unpool serve``: light to import, so that a thin client can say what is missing."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from unpool.service.extra import needing_the_server


class Format(Enum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


def serve(
    models: Annotated[
        Path, typer.Option(help="Model repository (<name>/<version>/model.onnx), or a single .onnx file.", exists=True)
    ],
    host: Annotated[str, typer.Option(help="Name or address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port; 0 picks a free one, which the log tells.")] = 8500,
    uds: Annotated[Path | None, typer.Option(help="Unix socket to listen on instead of TCP.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Threads for the numbers; one per core by default.", min=1)
    ] = None,
    load_at_start: Annotated[bool, typer.Option("--load-at-start", help="Load every model before listening.")] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="ROOT", help="Folder or URI below which data sets may be read; may be repeated."),
    ] = None,
    index: Annotated[
        str | None, typer.Option(metavar="URI", help="Where the indices of scans lie. Default: the user's cache.")
    ] = None,
    max_models: Annotated[int, typer.Option(help="Models kept loaded while nobody uses them.", min=1)] = 8,
    max_model_bytes: Annotated[
        int | None, typer.Option(help="Bytes of weights kept loaded while nobody uses them.", min=1)
    ] = None,
    max_message_bytes: Annotated[int, typer.Option(help="Longest message that is taken.", min=1 << 16)] = 32 << 20,
    max_input_bytes: Annotated[
        int, typer.Option(help="Memory that one input may take inside a model, estimated from its shapes.", min=1 << 16)
    ] = 4 << 30,
    max_calls: Annotated[int, typer.Option(help="Questions that may run or wait at once.", min=1)] = 32,
    drain_seconds: Annotated[float, typer.Option(help="How long running calls may go on at the end.", min=0)] = 30.0,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen where others can reach it, without TLS and tokens.")
    ] = False,
    log_format: Annotated[Format, typer.Option(help="How log lines are written, to standard error.")] = Format.TEXT,
    exit_on_stdin_eof: Annotated[
        bool, typer.Option("--exit-on-stdin-eof", help="End when standard input ends: with the parent process.")
    ] = False,
) -> None:
    """Serves the models of a repository over gRPC until it is told to end (SIGTERM, SIGINT)."""
    # ONNX Runtime's official builds report their use to Microsoft unless told not to before they are loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with needing_the_server():
        from unpool.service.serving import Serving, run
    code = run(
        Serving(
            models=models,
            host=host,
            port=port,
            uds=None if uds is None else str(uds),
            device=device,
            threads=threads,
            load_at_start=load_at_start,
            data=tuple(data or ()),
            index=index,
            max_models=max_models,
            max_model_bytes=max_model_bytes,
            max_message_bytes=max_message_bytes,
            max_input_bytes=max_input_bytes,
            max_calls=max_calls,
            drain_seconds=drain_seconds,
            insecure=insecure,
            json_logs=log_format is Format.JSON,
            exit_on_stdin_eof=exit_on_stdin_eof,
        )
    )
    raise typer.Exit(code)
