"""The generated code imports on the installed runtimes, and says the same as the .proto files beside it."""

import importlib
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from unpool.v1 import inspection_pb2, inspection_service_pb2, inspection_service_pb2_grpc, tensor_pb2

PROTO = Path(__file__).parents[2] / "proto"
FILES = sorted(path.relative_to(PROTO).as_posix() for path in PROTO.glob("unpool/v1/*.proto"))


@pytest.mark.parametrize("name", FILES)
def test_generated_module_holds_the_descriptor_of_its_file(name: str, tmp_path: Path) -> None:
    out = tmp_path / "one.binpb"
    assert protoc.main(["protoc", f"-I{PROTO}", f"--descriptor_set_out={out}", name]) == 0
    (expected,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    module = importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    actual = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(actual)
    expected.ClearField("source_code_info")
    # protoc fills json_name in only where it writes descriptors for others to read.
    for message in [*expected.message_type, *(n for m in expected.message_type for n in m.nested_type)]:
        for field in message.field:
            field.ClearField("json_name")
    for message in [*actual.message_type, *(n for m in actual.message_type for n in m.nested_type)]:
        for field in message.field:
            field.ClearField("json_name")
    assert actual == expected


def test_a_projection_survives_the_wire() -> None:
    sent = inspection_service_pb2.ProjectResponse(
        batch=inspection_pb2.ProjectionBatch(
            projections=[
                inspection_pb2.Projection(
                    index=3,
                    layer="features.3",
                    channel=7,
                    position=tensor_pb2.Position(index=[4, 5]),
                    activation=1.5,
                    box=tensor_pb2.Box(lower=[0, 2], upper=[3, 4]),
                    signal=tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_FLOAT32, shape=[1, 3, 2], data=bytes(24)),
                )
            ]
        )
    )
    received = inspection_service_pb2.ProjectResponse.FromString(sent.SerializeToString())
    assert received == sent
    assert received.WhichOneof("message") == "batch"
    assert not received.batch.projections[0].HasField("picture_box")


def test_a_stub_speaks_the_names_of_the_contract() -> None:
    class Recorder(grpc.Channel):
        """Records the method names that a stub asks a channel for."""

        def __init__(self) -> None:
            self.unary: list[str] = []
            self.stream: list[str] = []

        def unary_unary(self, method, *args, **kwargs):  # type: ignore[no-untyped-def]
            self.unary.append(method)

        def unary_stream(self, method, *args, **kwargs):  # type: ignore[no-untyped-def]
            self.stream.append(method)

        def stream_unary(self, method, *args, **kwargs):  # type: ignore[no-untyped-def]
            raise AssertionError(method)

        def stream_stream(self, method, *args, **kwargs):  # type: ignore[no-untyped-def]
            raise AssertionError(method)

        def subscribe(self, callback, try_to_connect=None):  # type: ignore[no-untyped-def]
            raise AssertionError

        def unsubscribe(self, callback):  # type: ignore[no-untyped-def]
            raise AssertionError

        def close(self) -> None:
            pass

        def __enter__(self):  # type: ignore[no-untyped-def]
            return self

        def __exit__(self, *exc):  # type: ignore[no-untyped-def]
            pass

    channel = Recorder()
    inspection_service_pb2_grpc.InspectionServiceStub(channel)
    assert channel.unary == ["/unpool.v1.InspectionService/Classify"]
    assert channel.stream == [f"/unpool.v1.InspectionService/{name}" for name in ("Capture", "Project", "Occlude")]
