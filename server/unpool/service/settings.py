"""What a server is told at start."""

from __future__ import annotations

from dataclasses import dataclass, field

from unpool.repository.decoding import DEFAULT_PIXELS
from unpool.service.scheduler import SchedulerSettings


@dataclass(frozen=True)
class ServiceSettings:
    """How a server listens, and what it refuses.

    Attributes:
        host: name or address to bind; only loopback unless ``insecure``.
        port: TCP port; 0 picks a free one.
        uds: path of a Unix socket to listen on instead.
        insecure: binding another than a loopback address is meant.
        max_message_bytes: the longest message that is received.
        pixels: the most pixels of a picture.
        positions: the most positions that one occlusion may ask for.
        longest_seconds: how long a call without a deadline may take.
        drain_seconds: how long running calls may go on when the server is asked to end.
        load_at_start: load every model before the first call.
        longest_scan_seconds: how long a scan without a deadline may take; what it committed stays.
        data: roots below which data sets may be read: folders, URIs, or ``*`` for anywhere.
        index: URI below which the indices of scans lie; ``None`` is the user's cache.
        scheduler: limits of what runs at once.
    """

    host: str = "127.0.0.1"
    port: int = 8500
    uds: str | None = None
    insecure: bool = False
    max_message_bytes: int = 32 << 20
    pixels: int = DEFAULT_PIXELS
    positions: int = 1 << 16
    longest_seconds: float = 3600.0
    drain_seconds: float = 30.0
    load_at_start: bool = False
    longest_scan_seconds: float = 7 * 86400.0
    data: tuple[str, ...] = ()
    index: str | None = None
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
