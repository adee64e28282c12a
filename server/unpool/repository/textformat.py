"""Protobuf's text format without a schema: every field is a list of what was given for it.

The protobuf package reads text only into messages that it knows, and trips over unknown lists of messages, which the
configurations of served models are full of. The grammar is that of https://protobuf.dev/reference/protobuf/textformat-spec.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

Value: TypeAlias = "str | int | float | Block"
_DEEPEST = 64

_TOKEN = re.compile(
    r"""(?P<space>[\s]+|\#[^\n]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>-?\s*(?:0[xX][0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)[fF]?(?![\w.]))
    |(?P<name>-?[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>[:{}<>\[\],;/.])""",
    re.VERBOSE,
)


class TextFormatError(ValueError):
    """Not text format; the message gives the line."""


@dataclass
class Block:
    """A message: field name -> values, in the order given."""

    fields: dict[str, list[Value]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """The last value of a field of text; empty without one."""
        return next((v for v in reversed(self.fields.get(name, [])) if isinstance(v, str)), "")

    def integer(self, name: str) -> int:
        """The last value of an integer field; 0 without one."""
        return next((v for v in reversed(self.fields.get(name, [])) if isinstance(v, int)), 0)

    def integers(self, name: str) -> tuple[int, ...]:
        """The values of a repeated integer field."""
        return tuple(v for v in self.fields.get(name, []) if isinstance(v, int))

    def blocks(self, name: str) -> tuple[Block, ...]:
        """The values of a repeated field of messages."""
        return tuple(v for v in self.fields.get(name, []) if isinstance(v, Block))


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def parse_text(text: str) -> Block:
    """Reads a message in text format.

    Raises:
        TextFormatError: not text format.
    """
    return _Reader(list(_tokens(text))).message("", 0)


def _tokens(text: str) -> Iterator[_Token]:
    place, line = 0, 1
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise TextFormatError(f"line {line}: unexpected {text[place]!r}")
        if match.lastgroup is not None and match.lastgroup != "space":
            yield _Token(match.lastgroup, match.group(), line)
        line += match.group().count("\n")
        place = match.end()
    yield _Token("end", "", line)


class _Reader:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._place = 0

    def _next(self) -> _Token:
        token = self._tokens[self._place]
        # The last token stays: reading past the end meets it again.
        self._place = min(self._place + 1, len(self._tokens) - 1)
        return token

    def _take(self, *texts: str) -> bool:
        token = self._tokens[self._place]
        if token.kind == "sign" and token.text in texts:
            self._place += 1
            return True
        return False

    def message(self, closing: str, depth: int) -> Block:
        if depth > _DEEPEST:
            raise self._wrong(self._tokens[self._place], "too deeply nested")
        block = Block()
        while True:
            token = self._next()
            if token.text == closing and token.kind == ("sign" if closing else "end"):
                return block
            block.fields.setdefault(self._name(token), []).extend(self._values(depth))
            self._take(",", ";")

    def _name(self, token: _Token) -> str:
        if token.kind == "name":
            return token.text
        if token.text == "[":
            parts = []
            while not self._take("]"):
                part = self._next()
                if part.kind == "end":
                    raise self._wrong(part, "an extension's name that does not end")
                parts.append(part.text)
            return f"[{''.join(parts)}]"
        raise self._wrong(token, f"expected a field's name, found '{token.text}'")

    def _values(self, depth: int) -> list[Value]:
        colon = self._take(":")
        if not self._take("["):
            return [self._value(depth, scalar=colon)]
        found: list[Value] = []
        while not self._take("]"):
            found.append(self._value(depth, scalar=colon))
            if not self._take(",") and self._tokens[self._place].text != "]":
                raise self._wrong(self._tokens[self._place], "a list that does not end")
        return found

    def _value(self, depth: int, *, scalar: bool) -> Value:
        token = self._next()
        if token.kind == "sign" and token.text in "{<":
            return self.message("}" if token.text == "{" else ">", depth + 1)
        if not scalar:
            raise self._wrong(token, f"expected a message, found '{token.text}'")
        if token.kind == "string":
            text = _unquoted(token)
            while self._tokens[self._place].kind == "string":
                text += _unquoted(self._next())
            return text
        if token.kind == "number":
            return _number(token.text)
        if token.kind == "name":
            return token.text
        raise self._wrong(token, f"expected a value, found '{token.text}'")

    @staticmethod
    def _wrong(token: _Token, what: str) -> TextFormatError:
        return TextFormatError(f"line {token.line}: {what}")


def _unquoted(token: _Token) -> str:
    try:
        raw, _ = codecs.escape_decode(token.text[1:-1].encode())
        return str(raw.decode())
    except (ValueError, UnicodeDecodeError) as error:
        raise TextFormatError(f"line {token.line}: a string with a wrong escape") from error


def _number(text: str) -> int | float:
    text = re.sub(r"\s", "", text)
    if re.fullmatch(r"-?0[xX][0-9a-fA-F]+", text):
        return int(text, 16)
    if re.fullmatch(r"-?0[0-7]+", text):
        return int(text, 8)
    if re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    return float(text.rstrip("fF"))
