"""Lists: what a sequence holds, as far as the file tells: tensors, and pieces of a tensor that was split."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TypeAlias

import onnx_ir as ir

MOST: Final = 1024
"""So many elements of a sequence are told apart; a file may split an axis of any length."""
_END: Final = (1 << 63) - 1
"""Behind the last place of any axis, as a Slice writes it."""


@dataclass(frozen=True, eq=False)
class Splitting:
    """A tensor that is split into pieces of one length, of which the last may be shorter.

    Attributes:
        x: the tensor.
        axis: along which it is split; counted from the back where it is negative.
        step: how long a piece is; a scalar that a run computes, or a number.
        squeezed: pieces are of length 1, and lose the axis.
    """

    x: ir.Value
    axis: int
    step: int | ir.Value
    squeezed: bool


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of a tensor.

    Attributes:
        x: the tensor.
        axis: along which it is cut.
        start: where the piece begins: a place, or how many times ``times`` it is away from the first.
        end: where it ends, likewise.
        times: ``None``, or a scalar that a run computes.
        squeezed: it is of length 1, and loses the axis.
    """

    x: ir.Value
    axis: int
    start: int
    end: int
    times: ir.Value | None = None
    squeezed: bool = False


Element: TypeAlias = ir.Value | Piece


@dataclass(frozen=True, eq=False)
class Elements:
    """What a sequence holds.

    Attributes:
        known: the elements in order; ``None`` where only a run tells how many there are, or there are too many.
        whole: what they are all the pieces of.
    """

    known: tuple[Element, ...] | None
    whole: Splitting | None = None

    def at(self, position: int) -> Element | None:
        """The element at a position, counted from the back where it is negative; ``None`` where only a run tells.

        Where the number of elements is not known, a position behind the last is a piece of length 0.
        """
        if self.known is not None:
            return self.known[position] if -len(self.known) <= position < len(self.known) else None
        if self.whole is None:
            return None
        x, axis, step, squeezed = self.whole.x, self.whole.axis, self.whole.step, self.whole.squeezed
        if isinstance(step, ir.Value):
            return Piece(x, axis, position, position + 1, step) if position >= 0 else None
        if position >= 0:
            return Piece(x, axis, position * step, (position + 1) * step, squeezed=squeezed)
        if step != 1:  # the last piece may be shorter, and where it begins hangs on it
            return None
        return Piece(x, axis, position, _END if position == -1 else position + 1, squeezed=squeezed)

    def inserted(self, element: Element, position: int | None) -> Elements | None:
        """With an element more, in front of the one at a position, or behind all."""
        if self.known is None:
            return None
        count = len(self.known)
        place = count if position is None else position if position >= 0 else count + position
        if not 0 <= place <= count:
            return None
        return Elements((*self.known[:place], element, *self.known[place:]))

    def erased(self, position: int | None) -> Elements | None:
        """Without the element at a position, or without the last."""
        if self.known is None:
            return None
        count = len(self.known)
        place = -1 if position is None else position
        place = place if place >= 0 else count + place
        return Elements((*self.known[:place], *self.known[place + 1 :])) if 0 <= place < count else None


def evenly(splitting: Splitting, extent: int | None) -> Elements:
    """The pieces of a tensor that is split evenly.

    Args:
        splitting: how.
        extent: of the axis, where it is known.
    """
    step = splitting.step
    if extent is None or isinstance(step, ir.Value) or extent > MOST * step:
        return Elements(None, splitting)
    starts = range(0, extent, step)
    pieces = (Piece(splitting.x, splitting.axis, s, min(s + step, extent), None, splitting.squeezed) for s in starts)
    return Elements(tuple(pieces), splitting)


def unevenly(x: ir.Value, axis: int, lengths: tuple[int, ...]) -> Elements:
    """The pieces of a tensor that is split into pieces of given lengths."""
    pieces = (Piece(x, axis, end - n, end) for end, n in zip(accumulate(lengths), lengths, strict=True))
    return Elements(tuple(pieces))
