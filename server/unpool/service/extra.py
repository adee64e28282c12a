"""What the server extra brings, and what a verb says where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

# Another module that cannot be found is a fault of ours and not of the installation.
_EXTRA = frozenset(
    {
        "fsspec",
        "grpc_health",
        "grpc_reflection",
        "grpc_status",
        "ml_dtypes",
        "onnx",
        "onnx_ir",
        "onnxruntime",
        "onnxscript",
        "pyarrow",
        "torch",
    }
)


@contextmanager
def needing_the_server() -> Iterator[None]:
    """Says what to install, and ends the verb, where an import inside lacks a package of the server extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _EXTRA:
            raise
        typer.echo(f'The server needs {error.name}, which is not installed: pip install "unpool[server]"', err=True)
        raise typer.Exit(1) from None
