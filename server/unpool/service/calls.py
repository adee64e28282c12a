"""What holds for every call: its id, its deadline, its log line, and what it is told when something goes wrong."""

from __future__ import annotations

import asyncio
import logging
import string
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import grpc

from unpool.service.errors import refusal

_log = logging.getLogger(__name__)
REQUEST_ID = "x-request-id"
_LONGEST_ID = 128
_PRINTABLE = frozenset(string.printable) - frozenset(string.whitespace) | {" "}


class Context(Protocol):
    """The part of ``grpc.aio.ServicerContext`` that is used."""

    def invocation_metadata(self) -> object: ...

    def time_remaining(self) -> float | None: ...

    async def send_initial_metadata(self, initial_metadata: tuple[tuple[str, str], ...]) -> None: ...

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: tuple[tuple[str, bytes], ...]
    ) -> None: ...


@dataclass
class Call:
    """One call, as its log line will tell it.

    Attributes:
        reference: the request's id.
        sent: messages sent.
        fields: what else to log.
    """

    reference: str
    sent: int = 0
    fields: dict[str, object] = field(default_factory=dict)


@asynccontextmanager
async def answering(method: str, context: Context, *, longest: float) -> AsyncIterator[Call]:
    """Surrounds the answering of one call.

    Args:
        method: its name, for the log.
        context: gRPC's.
        longest: seconds that a call without a deadline may take.
    """
    call = Call(_reference(context.invocation_metadata()))
    begin = time.perf_counter()
    code = "OK"
    remaining = context.time_remaining()
    try:
        await context.send_initial_metadata(((REQUEST_ID, call.reference),))
        try:
            async with asyncio.timeout(min(longest, remaining) if remaining is not None else longest):
                yield call
        except Exception as error:
            refused = refusal(error, call.reference)
            code = refused.code.name
            call.fields["reason"] = refused.message
            if refused.code is grpc.StatusCode.INTERNAL:
                _log.exception("internal error", extra={"request_id": call.reference, "method": method})
            trailers = refused.trailers()
            # What the traceback holds on to should not live as long as the caller takes to hear of it.
            error.__traceback__ = None
            await context.abort(refused.code, refused.message, trailers)
    except asyncio.CancelledError:
        code = "CANCELLED"
        raise
    finally:
        seconds = round(time.perf_counter() - begin, 4)
        facts = {"method": method, "code": code, "seconds": seconds, "request_id": call.reference, "sent": call.sent}
        _log.info("call", extra=facts | call.fields)


def _reference(metadata: object) -> str:
    """The caller's id where it is one that a log line can bear; else a new one."""
    for key, value in metadata or ():  # type: ignore[attr-defined]
        if key == REQUEST_ID and isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and set(value) <= _PRINTABLE:
            return value
    return uuid.uuid4().hex
