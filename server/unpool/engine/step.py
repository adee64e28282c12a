"""One node on a signal's way back."""

from __future__ import annotations

from dataclasses import dataclass

from unpool.graph.model import Node
from unpool.ops import Rule


@dataclass(frozen=True, eq=False)
class Step:
    """One crossing.

    Attributes:
        node: the node.
        rule: how it is crossed.
        wanted: for which of its inputs a signal is due.
    """

    node: Node
    rule: Rule
    wanted: tuple[bool, ...]
