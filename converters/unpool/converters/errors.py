"""What a conversion can refuse."""

from __future__ import annotations


class ConversionError(Exception):
    """A model that cannot be put into a repository; the message names the cause and what would be right."""


class ParityError(ConversionError):
    """An exported output that differs from the source framework's.

    Attributes:
        output: name of the output that differs most.
        difference: largest absolute difference divided by the source's largest magnitude; infinity where one side
            is not finite.
        tolerance: the difference that would have been accepted.
    """

    def __init__(self, output: str, difference: float, tolerance: float, detail: str) -> None:
        self.output = output
        self.difference = difference
        self.tolerance = tolerance
        super().__init__(f"output {output!r} {detail} (relative difference {difference:.3g}, allowed {tolerance:.3g})")
