"""Which axes a Reshape multiplies and splits into which."""

from __future__ import annotations

from collections.abc import Sequence

from unpool.graph.model import Dim


def regrouped(before: Sequence[Dim], after: Sequence[Dim]) -> list[tuple[list[int], list[int]]]:
    """The finest groups of axes that a Reshape maps onto each other.

    Args:
        before: extents of the input. ``None`` is equal to nothing.
        after: extents of the output.

    Returns:
        Pairs (input axes, output axes) in order; their extents multiply to the same number. Axes of unknown extents
        end up in one common group, met from both ends; axes of extent 1 among them that hide what else is known stand
        by themselves, behind the others.
    """
    return [parts for group in _met(before, after) for parts in _without_ones(group, before, after)]


def _without_ones(
    group: tuple[list[int], list[int]], before: Sequence[Dim], after: Sequence[Dim]
) -> list[tuple[list[int], list[int]]]:
    """A group taken apart where that takes leaving out axes of extent 1; else the group alone."""
    ins, outs = ([i for i in group[0] if before[i] != 1], [o for o in group[1] if after[o] != 1])
    if all(isinstance(before[i], int) for i in ins) or (ins, outs) == group:
        return [group]
    inner = _met([before[i] for i in ins], [after[o] for o in outs])
    if len(inner) < 2:
        return [group]
    ones = ([i for i in group[0] if before[i] == 1], [o for o in group[1] if after[o] == 1])
    return [*(([ins[a] for a in many], [outs[b] for b in few]) for many, few in inner), ones]


def _met(before: Sequence[Dim], after: Sequence[Dim]) -> list[tuple[list[int], list[int]]]:
    """Groups met from both ends."""
    head: list[tuple[list[int], list[int]]] = []
    i, j = _match(before, after, head)
    tail: list[tuple[list[int], list[int]]] = []
    rest_before, rest_after = list(before[i:]), list(after[j:])
    m, n = _match(rest_before[::-1], rest_after[::-1], tail)
    middle_in, middle_out = list(range(i, len(before) - m)), list(range(j, len(after) - n))
    turned = [
        ([len(before) - 1 - a for a in reversed(ins)], [len(after) - 1 - b for b in reversed(outs)])
        for ins, outs in reversed(tail)
    ]
    middle = [(middle_in, middle_out)] if middle_in or middle_out else []
    return [*head, *middle, *turned]


def _match(before: Sequence[Dim], after: Sequence[Dim], found: list[tuple[list[int], list[int]]]) -> tuple[int, int]:
    """Matches from the front as far as extents are known; appends groups and returns how many axes were used up."""
    i = j = 0
    while i < len(before) and j < len(after):
        a, b = before[i], after[j]
        if a is not None and a == b:
            found.append(([i], [j]))
            i, j = i + 1, j + 1
            continue
        if not isinstance(a, int) or not isinstance(b, int) or a == 0 or b == 0:
            return i, j
        ins, outs = [i], [j]
        while a != b:
            if a < b:
                following = before[ins[-1] + 1] if ins[-1] + 1 < len(before) else None
                if not isinstance(following, int):
                    return i, j
                ins.append(ins[-1] + 1)
                a *= following
            else:
                following = after[outs[-1] + 1] if outs[-1] + 1 < len(after) else None
                if not isinstance(following, int):
                    return i, j
                outs.append(outs[-1] + 1)
                b *= following
        found.append((ins, outs))
        i, j = ins[-1] + 1, outs[-1] + 1
    return i, j
