"""The rules of the contract that a reader of the .proto files relies on, checked on the descriptors protoc makes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

PROTO = Path(__file__).parents[2] / "proto"
FILES = sorted(path.relative_to(PROTO).as_posix() for path in PROTO.glob("unpool/v1/*.proto"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    out = tmp_path_factory.mktemp("descriptors") / "unpool.binpb"
    arguments = ["protoc", f"-I{PROTO}", "--include_source_info", f"--descriptor_set_out={out}", *FILES]
    assert protoc.main(arguments) == 0
    return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def enum_paths(enum: EnumDescriptorProto, path: tuple[int, ...], name: str) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, f"{name}.{enum.name}"
    for index, value in enumerate(enum.value):
        yield (*path, EnumDescriptorProto.VALUE_FIELD_NUMBER, index), f"{name}.{enum.name}.{value.name}"


def message_paths(message: DescriptorProto, path: tuple[int, ...], name: str) -> Iterator[tuple[tuple[int, ...], str]]:
    name = f"{name}.{message.name}"
    yield path, name
    for index, field in enumerate(message.field):
        yield (*path, DescriptorProto.FIELD_FIELD_NUMBER, index), f"{name}.{field.name}"
    for index, nested in enumerate(message.nested_type):
        # protoc makes a nested message of every map field; it has no source of its own.
        if not nested.options.map_entry:
            yield from message_paths(nested, (*path, DescriptorProto.NESTED_TYPE_FIELD_NUMBER, index), name)
    for index, enum in enumerate(message.enum_type):
        yield from enum_paths(enum, (*path, DescriptorProto.ENUM_TYPE_FIELD_NUMBER, index), name)


def declarations(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    for index, message in enumerate(file.message_type):
        yield from message_paths(message, (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, index), file.package)
    for index, enum in enumerate(file.enum_type):
        yield from enum_paths(enum, (FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER, index), file.package)
    for index, service in enumerate(file.service):
        path, name = (FileDescriptorProto.SERVICE_FIELD_NUMBER, index), f"{file.package}.{service.name}"
        yield path, name
        for number, method in enumerate(service.method):
            yield (*path, ServiceDescriptorProto.METHOD_FIELD_NUMBER, number), f"{name}.{method.name}"


def methods(files: list[FileDescriptorProto]) -> dict[str, MethodDescriptorProto]:
    return {
        f"{service.name}.{method.name}": method
        for file in files
        for service in file.service
        for method in service.method
    }


def test_every_declaration_has_a_comment(files: list[FileDescriptorProto]) -> None:
    bare = []
    seen = 0
    for file in files:
        comments = {tuple(at.path): at.leading_comments.strip() for at in file.source_code_info.location}
        for path, name in declarations(file):
            seen += 1
            if not comments.get(path):
                bare.append(name)
    assert bare == []
    assert seen > 100, "the walk over the descriptors has lost its way"


def test_every_rpc_is_unary_or_server_streaming(files: list[FileDescriptorProto]) -> None:
    assert [name for name, method in methods(files).items() if method.client_streaming] == []


def test_exactly_the_long_answers_are_streams(files: list[FileDescriptorProto]) -> None:
    streams = {name for name, method in methods(files).items() if method.server_streaming}
    exemplars = {
        f"ExemplarService.{name}"
        for name in ("ScanExemplars", "ProjectExemplars", "TraceEvolution", "CompareExemplars")
    }
    assert streams == {f"InspectionService.{name}" for name in ("Capture", "Occlude", "Project")} | exemplars


def test_every_rpc_has_messages_of_its_own(files: list[FileDescriptorProto]) -> None:
    for name, method in methods(files).items():
        rpc = name.partition(".")[2]
        assert method.input_type == f".unpool.v1.{rpc}Request", name
        assert method.output_type == f".unpool.v1.{rpc}Response", name


def test_every_stream_begins_with_a_header(files: list[FileDescriptorProto]) -> None:
    messages = {f".{file.package}.{message.name}": message for file in files for message in file.message_type}
    for name, method in methods(files).items():
        if method.server_streaming:
            response = messages[method.output_type]
            assert [oneof.name for oneof in response.oneof_decl] == ["message"], name
            assert all(field.HasField("oneof_index") for field in response.field), name
            assert (response.field[0].name, response.field[0].number) == ("header", 1), name


def test_both_picture_and_tensor_can_be_set_so_that_the_server_can_refuse_them(
    files: list[FileDescriptorProto],
) -> None:
    (source,) = (message for file in files for message in file.message_type if message.name == "Input")
    assert {field.name for field in source.field} == {"picture", "tensor", "tensors"}
    for field in source.field:
        assert field.type == FieldDescriptorProto.TYPE_MESSAGE
        assert not field.HasField("oneof_index")
