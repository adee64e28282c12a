"""What an examination says: admitted, or one sentence why not; and how the two runtimes compare."""

from __future__ import annotations

import re
from dataclasses import dataclass

from unpool.graph.errors import ModelError

_LONGEST = 600
# Of a name in quotes: what stands behind it should still be read.
_LONGEST_NAME = re.compile(r"'([^'\s]{60})[^'\s]{20,}([^'\s]{20})'")


@dataclass(frozen=True)
class Verdict:
    """What became of one examination.

    Attributes:
        admitted: the model may be served.
        reason: why not, one sentence; empty where it is admitted.
        node: the node at fault, where there is one.
        digest: of the file and its external data, where it was read to its end.
        passing: the refusal may pass, as want of time or memory does.
        warning: it is admitted, and ONNX Runtime failed to run it on input of the extents that it declares; one
            sentence, empty where it ran or nothing could be told.
    """

    admitted: bool
    reason: str = ""
    node: str | None = None
    digest: str = ""
    passing: bool = False
    warning: str = ""


class RefusedError(ModelError):
    """A model that its examination did not admit; ``passing`` where another try may end otherwise."""

    def __init__(self, message: str, *, node: str | None = None, passing: bool = False) -> None:
        super().__init__(message, node=node)
        self.passing = passing


@dataclass(frozen=True)
class OutputParity:
    """One output by torch beside the same by ONNX Runtime.

    Attributes:
        output: its name.
        difference: the largest difference over the output's largest magnitude; for whole numbers the share that differ.
        tolerance: what it may be.
        precision: float16 or bfloat16, where a value on the way to the output is counted in that; else empty.
        steps: where values on the way are quantised, how far a rounded number may fall the other way, which is then not
            part of the difference; else 0.
        fault: a node on the way whose quantised result differs by more, and how; empty where none does.
    """

    output: str
    difference: float
    tolerance: float
    precision: str = ""
    steps: int = 0
    fault: str = ""

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance, and no node is at fault; one that is no number is not."""
        return self.difference <= self.tolerance and not self.fault

    @property
    def inside(self) -> str:
        """How it is computed inside, and what that means for the comparison, in words; empty in float32."""
        half = f"computed in {self.precision} inside" if self.precision else ""
        steps = f"quantised inside, compared within {self.steps} step{'s' * (self.steps > 1)}" if self.steps else ""
        return ", ".join(words for words in (half, steps, self.fault) if words)


@dataclass(frozen=True)
class Parity:
    """The forward of the backward engine (torch) beside ONNX Runtime's, on random input.

    Attributes:
        outputs: one for each output that was compared; none where nothing could be.
        extents: input name -> the extents that were fed.
        borrowed: nodes without a forward in torch, whose values were taken from ONNX Runtime.
        reason: why nothing was compared, one sentence; empty where something was.
    """

    outputs: tuple[OutputParity, ...] = ()
    extents: tuple[tuple[str, tuple[int, ...]], ...] = ()
    borrowed: tuple[str, ...] = ()
    reason: str = ""

    @property
    def worst(self) -> OutputParity | None:
        """The output that is furthest beyond its tolerance, or nearest to it."""
        return max(self.outputs, key=lambda o: o.difference / o.tolerance if o.holds else 1e9, default=None)

    @property
    def holds(self) -> bool:
        """Whether something was compared, and all of it agrees."""
        return bool(self.outputs) and all(output.holds for output in self.outputs)

    def __str__(self) -> str:
        worst = self.worst
        if worst is None:
            return f"torch was not compared with ONNX Runtime: {self.reason}"
        verb = "agrees with" if self.holds else "differs from"
        return (
            f"torch {verb} ONNX Runtime on random input: {worst.difference:.1e} of the scale of output"
            f" '{worst.output}' (tolerance {worst.tolerance:.0e}{'; ' * bool(worst.inside)}{worst.inside})"
        )


def sentence(text: str) -> str:
    """A message that came of an untrusted file as one printable line of bounded length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = _LONGEST_NAME.sub(r"'\1...\2'", line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
