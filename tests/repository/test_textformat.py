"""The oracle is protobuf's own text format: what it prints of a message is read back to the same values."""

import pytest
from google.protobuf import descriptor_pb2, text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from unpool.repository.textformat import TextFormatError, parse_text


@given(
    name=st.text(max_size=20),
    numbers=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
    nested=st.lists(st.text(max_size=8), max_size=4),
    one_line=st.booleans(),
    angles=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_what_protobuf_prints_is_read_back(
    name: str, numbers: list[int], nested: list[str], one_line: bool, angles: bool
) -> None:
    message = descriptor_pb2.FileDescriptorProto(name=name, public_dependency=numbers)
    for inner in nested:
        message.message_type.add(name=inner)
    text = text_format.MessageToString(
        message, as_one_line=one_line, pointy_brackets=angles, use_short_repeated_primitives=one_line
    )
    block = parse_text(text)
    assert block.text("name") == name
    assert block.integers("public_dependency") == tuple(numbers)
    assert [b.text("name") for b in block.blocks("message_type")] == nested


@pytest.mark.parametrize(
    "text", ["a", "a:", "a: [1", "a {", "a: }", "a: 1 }", '"x"', "a {{}", 'a: "x', "a: 1 2", "[x", "a b"]
)
def test_what_is_no_text_format_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(TextFormatError, match="line 2"):
        parse_text("\n" + text)


def test_endless_nesting_is_refused() -> None:
    with pytest.raises(TextFormatError, match="deep"):
        parse_text("a {" * 5000)
