"""Where a server may read data: under the roots it was given, and nowhere else."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from unpool.graph.errors import InvalidArgumentError

ANYWHERE = "*"
"""A root that stands for every path, scheme and host: for a server that only its own user reaches."""


def local_path(uri: str) -> Path | None:
    """The path that a URI without a scheme, or of scheme ``file``, names; ``None`` for any other."""
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    return None if "://" in uri or "::" in uri else Path(uri).expanduser()


@dataclass(frozen=True)
class Roots:
    """The folders and URI prefixes below which data may be read.

    Attributes:
        unrestricted: everything may be.
        folders: local folders, links resolved.
        prefixes: (scheme, host, path) of remote ones.
    """

    unrestricted: bool = False
    folders: tuple[Path, ...] = ()
    prefixes: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def of(cls, roots: Iterable[str]) -> Roots:
        """Reads roots as the command line gives them: folders, URIs, or ``ANYWHERE``.

        Raises:
            InvalidArgumentError: a local root that is no folder or file, or a URI without a path of its own to keep to.
        """
        folders, prefixes, unrestricted = [], [], False
        for root in roots:
            if root == ANYWHERE:
                unrestricted = True
            elif (path := local_path(root)) is not None:
                if not path.exists():
                    raise InvalidArgumentError("data", f"there is no folder {path}")
                folders.append(path.resolve())
            else:
                prefixes.append(_parts(root))
        return cls(unrestricted, tuple(folders), tuple(prefixes))

    def check(self, uri: str, field: str = "dataset") -> str:
        """A URI in the form in which it is opened.

        Args:
            uri: a local path, or any URI that fsspec opens.
            field: named by errors.

        Raises:
            InvalidArgumentError: it is empty, or lies outside the roots. Whether something is there is not told.
        """
        if not uri or "\0" in uri:
            raise InvalidArgumentError(field, "is empty; give the path or URI of a data set")
        path = local_path(uri)
        if path is not None:
            path = path.absolute()
            if not self.unrestricted and not self.holds(path):
                raise self._refused(uri, field)
            return str(path)
        if self.unrestricted:
            return uri
        scheme, host, below = _parts(uri, field)
        for root_scheme, root_host, root in self.prefixes:
            if (scheme, host) == (root_scheme, root_host) and (below + "/").startswith(root.rstrip("/") + "/"):
                return uri
        raise self._refused(uri, field)

    def holds(self, path: Path) -> bool:
        """Whether a local path lies under a root, links followed."""
        if self.unrestricted:
            return True
        try:
            found = path.resolve()
        except (OSError, RuntimeError):  # a circle of links
            return False
        return any(found == root or found.is_relative_to(root) for root in self.folders)

    def _refused(self, uri: str, field: str) -> InvalidArgumentError:
        given = bool(self.folders or self.prefixes)
        why = "lies outside the data roots of this server" if given else "cannot be read: this server has no data roots"
        return InvalidArgumentError(field, f"'{uri[:200]}' {why}; whoever runs it names them with --data ROOT")


def _parts(uri: str, field: str = "data") -> tuple[str, str, str]:
    """Scheme, host and normal path; chained URIs and paths that climb are refused."""
    found = urlsplit(uri)
    path = unquote(found.path)
    climbs = ".." in path.split("/") or "\\" in path or "%" in path
    if "::" in uri or not found.scheme or climbs or found.query or found.fragment or "@" in found.netloc:
        raise InvalidArgumentError(
            field, f"'{uri[:200]}' is not a plain URI: scheme://host/path, without '..' and '::'"
        )
    return found.scheme.lower(), found.netloc.lower(), posixpath.normpath("/" + path)
