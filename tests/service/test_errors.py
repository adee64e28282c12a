import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from unpool.graph.errors import (
    ExhaustedError,
    InvalidArgumentError,
    ModelError,
    NotFoundError,
    OutOfRangeError,
    PreconditionError,
)
from unpool.service.errors import refusal


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidArgumentError("a", "b"), grpc.StatusCode.INVALID_ARGUMENT),
        (OutOfRangeError("a", "b"), grpc.StatusCode.OUT_OF_RANGE),
        (NotFoundError("layer", "a", []), grpc.StatusCode.NOT_FOUND),
        (PreconditionError("a"), grpc.StatusCode.FAILED_PRECONDITION),
        (ModelError("a"), grpc.StatusCode.FAILED_PRECONDITION),
        (ExhaustedError("a"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (MemoryError(), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (TimeoutError(), grpc.StatusCode.DEADLINE_EXCEEDED),
        (ZeroDivisionError("secret"), grpc.StatusCode.INTERNAL),
    ],
)
def test_every_error_has_its_code(error: Exception, code: grpc.StatusCode) -> None:
    assert refusal(error, "r").code is code


def test_an_unknown_error_tells_its_reference_and_nothing_else() -> None:
    found = refusal(ZeroDivisionError("/secret/path"), "ref-1").status().SerializeToString()
    assert b"ref-1" in found
    assert b"secret" not in found
    assert b"ZeroDivision" not in found


def test_messages_and_details_stay_within_what_trailers_may_be() -> None:
    error = NotFoundError("layer", "x" * 100_000, ["x" * 5000 + str(i) for i in range(5)])
    trailer = refusal(error, "r").trailers()[0][1]
    assert len(trailer) < 6000
    status = status_pb2.Status.FromString(trailer)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("unpool", "LAYER_NOT_FOUND")


def test_a_node_at_fault_is_named() -> None:
    info = refusal(ModelError("no", node="conv_7"), "r").details[0]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.metadata["node"] == "conv_7"
