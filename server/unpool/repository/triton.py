"""What is read of Triton's ``config.pbtxt``: names, the sizes of inputs, and where the labels are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import Message

from unpool.graph.errors import ModelError

_FIELD = descriptor_pb2.FieldDescriptorProto
# The numbers do not travel: only the names matter in text.
_MESSAGES: Mapping[str, Mapping[str, tuple[int, bool, str]]] = {
    "Tensor": {
        "name": (_FIELD.TYPE_STRING, False, ""),
        "dims": (_FIELD.TYPE_INT64, True, ""),
        "label_filename": (_FIELD.TYPE_STRING, False, ""),
    },
    "Config": {
        "name": (_FIELD.TYPE_STRING, False, ""),
        "max_batch_size": (_FIELD.TYPE_INT64, False, ""),
        "default_model_filename": (_FIELD.TYPE_STRING, False, ""),
        "input": (_FIELD.TYPE_MESSAGE, True, ".Tensor"),
        "output": (_FIELD.TYPE_MESSAGE, True, ".Tensor"),
    },
}


@dataclass(frozen=True)
class TritonConfig:
    """The part of a Triton model configuration that matters here.

    Attributes:
        name: the model's name; empty where the file leaves it to the folder.
        max_batch_size: greater than 0 where the batch axis is left out of ``inputs``.
        inputs: input name -> extents as written; -1 where the caller decides. Without the batch axis where
            ``max_batch_size`` is greater than 0.
        model_file: file name of the model inside a version's folder.
        label_files: output name -> file name of its labels, inside the model's folder.
    """

    name: str = ""
    max_batch_size: int = 0
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: MappingProxyType({}))
    model_file: str = "model.onnx"
    label_files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@cache
def _message_class() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(name="triton_subset.proto", syntax="proto2")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for number, (field_name, (kind, repeated, type_name)) in enumerate(fields.items(), start=1):
            message.field.add(
                name=field_name,
                number=number,
                type=kind,
                label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL,
                type_name=type_name,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Config"))


def parse(text: str) -> TritonConfig:
    """Reads a configuration in protobuf text format; fields that are not used here are skipped, whatever they hold.

    Raises:
        ModelError: not text format; the message gives line and column.
    """
    config = _message_class()()
    try:
        text_format.Parse(text, config, allow_unknown_field=True)
    except text_format.ParseError as error:
        raise ModelError(f"config.pbtxt is not a Triton configuration: {error}") from error
    # The class is made at run time, so that its fields have no types to check.
    read = {name: getattr(config, name) for name in _MESSAGES["Config"]}
    return TritonConfig(
        name=str(read["name"]),
        max_batch_size=int(read["max_batch_size"]),
        inputs=MappingProxyType({i.name: tuple(int(d) for d in i.dims) for i in read["input"]}),
        model_file=str(read["default_model_filename"]) or "model.onnx",
        label_files=MappingProxyType({o.name: o.label_filename for o in read["output"] if o.label_filename}),
    )
