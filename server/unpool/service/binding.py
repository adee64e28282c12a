"""Where a server listens, and where it must not without being told to."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from unpool.graph.errors import InvalidArgumentError
from unpool.service.settings import ServiceSettings

# Longer paths do not fit into a socket address.
_LONGEST_PATH = 100


def address(settings: ServiceSettings) -> str:
    """The address to bind, in gRPC's words.

    Raises:
        InvalidArgumentError: a host that others can reach, without ``insecure``; one that does not resolve; a bad port
            or path.
    """
    if settings.uds is not None:
        path = Path(settings.uds).absolute()
        if not path.parent.is_dir():
            raise InvalidArgumentError("uds", f"there is no folder {path.parent}")
        if len(str(path).encode()) > _LONGEST_PATH:
            raise InvalidArgumentError("uds", f"is longer than the {_LONGEST_PATH} bytes that a socket's path may have")
        return f"unix:{path}"
    if not 0 <= settings.port < 1 << 16:
        raise InvalidArgumentError("port", f"is {settings.port}; give 1 to 65535, or 0 for a free one")
    if not settings.insecure and not _is_loopback(settings.host):
        raise InvalidArgumentError(
            "host",
            f"'{settings.host}' can be reached by others, and this server knows neither TLS nor tokens yet: "
            "anybody could ask it anything. Bind 127.0.0.1, or say --insecure if the network is trusted",
        )
    return _join(settings.host, settings.port)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError) as error:
        raise InvalidArgumentError("host", f"'{host}' does not resolve") from error
    return bool(found) and all(ipaddress.ip_address(str(a).split("%")[0]).is_loopback for a in found)


def bound(settings: ServiceSettings, wanted: str, port: int) -> str:
    """The address that was bound, as a client gives it."""
    return wanted if settings.uds is not None else _join(settings.host, port)
