"""What ONNX Runtime says of a failure, without its own error codes, source files and signatures."""

from __future__ import annotations

import re

_LONGEST = 4000
_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : |Exception during initialization: |This is an invalid model\. (?:Error: )?"
    r"|Non-zero status code returned while running |Failed to load model with error: |\[\w+Error\] |Type Error: "
)
_SOURCE = re.compile(r"/\S+\.(?:cc|cpp|h|hpp):\d+ ")
_PLACE = re.compile(r"\b\w+\.(?:cc|cpp|h|hpp):\d+ \w+ ")
"""A source file without its folder, and a function without its parameters."""
_CLOSING = {"(": ")", "[": "]", "<": ">"}
# A node that its schema does not allow, with all that goes in and out of it.
_SCHEMA = re.compile(r'^In Node, \("([^"]*)", (\w+), "[^"]*", -?\d+\) : .* , Error (.*)$')
_COUNT = re.compile(
    r"Node(?:\s?\([^)]*\))? with schema\([^)]*\) has (input|output) size (\d+) not in range \[min=(\d+), max=(\d+)\]"
)
_UNBOUNDED = (1 << 31) - 1
_INFERENCE = re.compile(r"^Node \(([^)]*)\) Op \((\w+)\) ")


def runtime_words(error: Exception) -> str:
    """The first line of a message of ONNX Runtime's, as far as it says anything to a reader; names the node first."""
    line = str(error).strip().partition("\n")[0][:_LONGEST] or "it does not say why"
    line = _NOISE.sub("", line)
    while (found := _SOURCE.search(line)) is not None:
        line = line[: found.start()] + _behind_signature(line[found.end() :])
    line = _PLACE.sub("", line)
    line = _INFERENCE.sub(r"\2 node '\1': ", line.strip())
    if (schema := _SCHEMA.match(line)) is not None:
        name, op_type, reason = schema.groups()
        line = f"{op_type} node '{name}': {_COUNT.sub(_counted, reason)}"
    return line.strip()


def _counted(found: re.Match[str]) -> str:
    what, count, least, most = found[1], int(found[2]), int(found[3]), int(found[4])
    wanted = f"at least {least}" if most >= _UNBOUNDED else f"{least} to {most}" if least < most else str(most)
    return f"the number of its {what}s is {count}, and has to be {wanted}"


def _behind_signature(text: str) -> str:
    """What follows the C++ function's name, parameters and qualifiers that ``text`` begins with."""
    opening = text.find("(")
    if text[:opening].endswith("operator"):  # whose own name ends in brackets
        opening = text.find("(", opening + 1)
    if opening < 0:
        return text
    rest = text[_end(text, opening) :].removeprefix(" const").lstrip()
    return rest[_end(rest, 0) :].lstrip() if rest.startswith("[with ") else rest


def _end(text: str, begin: int) -> int:
    """Behind the bracket that closes the one at ``begin``; the text's end where none does."""
    opened, closing = text[begin], _CLOSING[text[begin]]
    depth = 0
    for place in range(begin, len(text)):
        depth += (text[place] == opened) - (text[place] == closing)
        if not depth:
            return place + 1
    return len(text)
