"""What ONNX Runtime says of a failure, without its own error codes, source files and signatures."""

from __future__ import annotations

import re

_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : |Exception during initialization: |This is an invalid model\. (?:Error: )?"
    r"|Non-zero status code returned while running "
)
_SOURCE = re.compile(r"/\S+\.(?:cc|cpp|h|hpp):\d+ ")
_CLOSING = {"(": ")", "[": "]", "<": ">"}


def runtime_words(error: Exception) -> str:
    """The first line of a message of ONNX Runtime's, as far as it says anything to a reader."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    line = _NOISE.sub("", line)
    while (found := _SOURCE.search(line)) is not None:
        line = line[: found.start()] + _behind_signature(line[found.end() :])
    return line.strip()


def _behind_signature(text: str) -> str:
    """What follows the C++ function's name, parameters and qualifiers that ``text`` begins with."""
    opening = text.find("(")
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
