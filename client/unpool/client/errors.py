"""What can go wrong, as one small hierarchy that carries what the server said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"


class UnpoolError(Exception):
    """Anything that a call can fail with.

    Attributes:
        code: the gRPC status; ``None`` where the client itself refused or the server never started.
        message: what was wrong and what would be right, in a sentence.
        field: the field of the request at fault; empty where none is.
        nearest: the likeliest names that do exist, when a name was not found.
        node: the node of the model at fault; empty where none is.
        retry_after: seconds to wait before trying again; ``None`` where the server gave no hint.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        field: str = "",
        nearest: Iterable[str] = (),
        node: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.field = field
        self.nearest = tuple(nearest)
        self.node = node
        self.retry_after = retry_after

    def __str__(self) -> str:
        text = self.message
        if self.field and self.field not in text:
            text = f"{self.field}: {text}"
        if self.nearest and not any(name in text for name in self.nearest):
            text = f"{text}; did you mean {', '.join(self.nearest)}?"
        if self.node and self.node not in text:
            text = f"{text} (node {self.node})"
        if self.retry_after is not None:
            text = f"{text} (try again in {self.retry_after:g} s)"
        return text


class InvalidArgumentError(UnpoolError):
    """A value that can never be right; ``field`` names it."""


class OutOfRangeError(UnpoolError):
    """A channel or position that the layer does not have; the message gives the range."""


class NotFoundError(UnpoolError):
    """No model, version, layer or output of this name; ``nearest`` has the likeliest ones."""


class PreconditionError(UnpoolError):
    """A right question to a model that cannot answer it; ``node`` names the obstacle where there is one."""


class BusyError(UnpoolError):
    """Too much at once, or too large; ``retry_after`` says when to try again, where that can help."""


class UnavailableError(UnpoolError):
    """No server answers, or it is shutting down."""


class DeadlineError(UnpoolError):
    """The call did not end within its timeout."""


class CancelledError(UnpoolError):
    """The call was cancelled."""


class ServerError(UnpoolError):
    """The server failed, or answered what the contract does not allow."""


class EmbeddedError(UnpoolError):
    """The embedded server could not be started."""


_CLASSES: dict[grpc.StatusCode, type[UnpoolError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRangeError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: BusyError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.CANCELLED: CancelledError,
}


def from_status(
    code: grpc.StatusCode, message: str, trailing: Iterable[tuple[str, str | bytes]] | None, target: str
) -> UnpoolError:
    """Builds the error of a failed call.

    Args:
        code: its status.
        message: its status message.
        trailing: its trailing metadata, which may carry a ``google.rpc.Status`` with ErrorInfo, BadRequest and
            RetryInfo.
        target: the server's address, for the message when none answers.
    """
    field, node, retry_after = "", "", None
    nearest: tuple[str, ...] = ()
    for detail in _details(trailing):
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            node = info.metadata.get("node", "")
            nearest = tuple(name for name in info.metadata.get("nearest", "").split(", ") if name)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest()
            detail.Unpack(request)
            field = next((violation.field for violation in request.field_violations), "")
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    if code is grpc.StatusCode.UNAVAILABLE:
        message = f"no server answers at {target}: {message}"
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = "the call did not end within its timeout"
    return _CLASSES.get(code, ServerError)(
        message or code.name, code=code, field=field, nearest=nearest, node=node, retry_after=retry_after
    )


def from_rpc(error: grpc.RpcError, target: str) -> UnpoolError:
    """Builds the error of a failed call, of either kind of channel."""
    # Either kind of channel gives pairs here, whatever the type stubs say of the blocking one.
    trailing = cast(Iterable[tuple[str, str | bytes]] | None, error.trailing_metadata())
    return from_status(error.code(), error.details() or "", trailing, target)


def _details(trailing: Iterable[tuple[str, str | bytes]] | None) -> list[status_pb2.any__pb2.Any]:
    for key, value in trailing or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return list(status_pb2.Status.FromString(value).details)
            except DecodeError:
                return []
    return []
