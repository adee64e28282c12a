"""How a call leaves: channel options, addresses, metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

MetadataLike: TypeAlias = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]
"""Headers for every call, such as ``{"authorization": "Bearer ..."}``; names in lower case, bytes for ``-bin`` ones."""

DEFAULT_TARGET = "127.0.0.1:8500"

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # The server's limit is the one that counts: it refuses with a reason, where a limit here would just cut the call.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Signals fit the flow-control window as they come.
    ("grpc.http2.lookahead_bytes", 4 << 20),
)


def metadata_of(metadata: MetadataLike | None) -> tuple[tuple[str, str | bytes], ...]:
    """The headers as gRPC takes them."""
    if metadata is None:
        return ()
    return tuple(metadata.items() if isinstance(metadata, Mapping) else metadata)
