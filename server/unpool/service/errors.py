"""The one mapping from what goes wrong to what a caller is told: ``google.rpc.Status`` with its standard details."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from unpool.graph.errors import (
    ExhaustedError,
    InvalidArgumentError,
    ModelError,
    NotFoundError,
    OutOfRangeError,
    PreconditionError,
    UnpoolError,
)

DOMAIN = "unpool"
# Status and details travel as HTTP/2 trailers, which peers may limit to 8 KiB in all.
_MESSAGE_CHARACTERS = 1000
_METADATA_CHARACTERS = 300


@dataclass(frozen=True)
class Refusal:
    """An error as a caller sees it.

    Attributes:
        code: the gRPC status.
        message: what was wrong and what would be right.
        details: google.rpc details.
    """

    code: grpc.StatusCode
    message: str
    details: tuple[Message, ...] = field(default=())

    def status(self) -> status_pb2.Status:
        """The message that travels."""
        packed = []
        for detail in self.details:
            wrapped = any_pb2.Any()
            wrapped.Pack(detail)
            packed.append(wrapped)
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=packed)

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """The status as trailing metadata."""
        return (("grpc-status-details-bin", self.status().SerializeToString()),)


def refusal(error: BaseException, reference: str) -> Refusal:
    """What a caller is told of an error.

    Args:
        error: what was raised. Of anything but an ``UnpoolError`` a caller learns the reference alone.
        reference: the request's id, under which the log has the rest.
    """
    match error:
        case InvalidArgumentError():
            return _refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", error, violation=_violation(error))
        case OutOfRangeError():
            return _refusal(grpc.StatusCode.OUT_OF_RANGE, "OUT_OF_RANGE", error, violation=_violation(error))
        case NotFoundError():
            metadata = {"kind": error.kind, "name": error.name, "nearest": ", ".join(error.nearest)}
            return _refusal(
                grpc.StatusCode.NOT_FOUND, f"{error.kind.upper().replace(' ', '_')}_NOT_FOUND", error, metadata
            )
        case PreconditionError():
            return _refusal(grpc.StatusCode.FAILED_PRECONDITION, "FAILED_PRECONDITION", error, _node(error.node))
        case ModelError():
            # Not UNAVAILABLE: clients take that for a reason to try again, and the file will be as broken then.
            return _refusal(grpc.StatusCode.FAILED_PRECONDITION, "MODEL_UNAVAILABLE", error, _node(error.node))
        case ExhaustedError():
            retry = None if error.retry_seconds is None else error_details_pb2.RetryInfo()
            if retry is not None and error.retry_seconds is not None:
                retry.retry_delay.FromNanoseconds(int(error.retry_seconds * 1e9))
            return _refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MUCH_AT_ONCE", error, violation=retry)
        case UnpoolError():
            return _refusal(grpc.StatusCode.FAILED_PRECONDITION, "REFUSED", error)
        case MemoryError():
            info = error_details_pb2.ErrorInfo(domain=DOMAIN, reason="OUT_OF_MEMORY")
            text = "the server has not enough memory for this; show a smaller picture, or ask for less at once"
            return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, text, (info,))
        case TimeoutError():
            info = error_details_pb2.ErrorInfo(domain=DOMAIN, reason="DEADLINE_EXCEEDED")
            return Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the work was done", (info,))
    info = error_details_pb2.ErrorInfo(domain=DOMAIN, reason="INTERNAL", metadata={"reference": reference})
    return Refusal(
        grpc.StatusCode.INTERNAL, f"internal error; the server's log has it under reference {reference}", (info,)
    )


def _refusal(
    code: grpc.StatusCode,
    reason: str,
    error: UnpoolError,
    metadata: Mapping[str, str] = MappingProxyType({}),
    *,
    violation: Message | None = None,
) -> Refusal:
    kept = {key: _short(value, _METADATA_CHARACTERS) for key, value in metadata.items() if value}
    info = error_details_pb2.ErrorInfo(domain=DOMAIN, reason=reason, metadata=kept)
    details = (info,) if violation is None else (info, violation)
    return Refusal(code, _short(str(error), _MESSAGE_CHARACTERS), details)


def _violation(error: InvalidArgumentError | OutOfRangeError) -> error_details_pb2.BadRequest:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=_short(error.field, _METADATA_CHARACTERS), description=_short(error.description, _MESSAGE_CHARACTERS)
    )
    return error_details_pb2.BadRequest(field_violations=[violation])


def _node(node: str | None) -> Mapping[str, str]:
    return {"node": node} if node else {}


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
