"""What is read of Triton's ``config.pbtxt``: names, the sizes of inputs, and where the labels are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from unpool.graph.errors import ModelError
from unpool.repository.textformat import TextFormatError, parse_text


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


def parse(text: str) -> TritonConfig:
    """Reads a configuration in protobuf text format; fields that are not used here are skipped, whatever they hold.

    Raises:
        ModelError: not text format; the message gives the line.
    """
    try:
        config = parse_text(text)
    except TextFormatError as error:
        raise ModelError(f"not a Triton configuration: {error}") from error
    return TritonConfig(
        name=config.text("name"),
        max_batch_size=config.integer("max_batch_size"),
        inputs=MappingProxyType({i.text("name"): i.integers("dims") for i in config.blocks("input")}),
        model_file=config.text("default_model_filename") or "model.onnx",
        label_files=MappingProxyType(
            {o.text("name"): o.text("label_filename") for o in config.blocks("output") if o.text("label_filename")}
        ),
    )
