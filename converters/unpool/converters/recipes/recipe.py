"""What a recipe is: a real model that a call puts into a repository."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unpool.converters.convert import Progress, Report


class Put(Protocol):
    """Puts the model into a repository."""

    def __call__(
        self,
        root: Path,
        *,
        name: str,
        version: int = 1,
        pictures: Sequence[Path] = (),
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Report:
        """Put the model into the repository `root`.

        Args:
            root: the repository's folder.
            name: the entry's name.
            version: the entry's version.
            pictures: photographs to compare the export on.
            overwrite: replace an existing version.
            progress: called as stages begin.

        Raises:
            ConversionError: a package that carries the model is not installed, or see `convert` and `take`.
        """


@dataclass(frozen=True)
class Recipe:
    """A model that comes with its labels and preprocessing.

    Attributes:
        name: what it is called, here and by default in the repository.
        summary: one line for a person.
        packages: distributions that carry its files; install them with `--no-deps`.
        put: makes the entry.
    """

    name: str
    summary: str
    packages: tuple[str, ...]
    put: Put
