"""A rectifier in front of a max pool is applied before unpooling, to the few values that there are.

Forward, a network rectifies and then pools; backward, the signal is unpooled and then rectified, though most of it is
zeros by then. Where a rule looks at each value alone, and at the sign of what the rectifier gave, it may as well look
at the pool's outputs: they are the rectifier's own values at the switches. Windows that overlap add up values of either
sign before they are rectified, and stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from unpool.engine.step import Step
from unpool.ops import PASS, Crossing, Rule, Signals
from unpool.ops.switches import pool_geometry

_WIDE = 1 << 20
"""An extent that no window reaches the end of: how windows overlap does not depend on the plane."""


def rectified_before_unpooling(steps: Sequence[Step], kept: Set[str]) -> tuple[Step, ...]:
    """The same way, with rectifiers moved in front of the unpooling that they follow.

    Args:
        steps: in the order of crossing.
        kept: values at which a signal enters or ends.
    """
    readers = Counter(name for s in steps for name, due in zip(s.node.inputs, s.wanted, strict=True) if due)
    pools = {s.node.inputs[0]: s for s in steps if s.node.op_type == "MaxPool" and s.rule.switches and _apart(s)}
    moved: dict[Step, Step] = {}
    for step in steps:
        pool = pools.get(step.node.outputs[0])
        if pool is None or not step.rule.by_sign or readers[step.node.outputs[0]] != 1:
            continue
        if kept.isdisjoint(step.node.outputs):
            both = replace(pool.rule, apply=_Rectified(step.rule, pool.rule), mask=step.rule.mask)
            moved[pool] = replace(pool, rule=both)
            moved[step] = replace(step, rule=PASS)
    return tuple(moved.get(s, s) for s in steps)


def _apart(step: Step) -> bool:
    """Whether a pool's windows have no place in common."""
    kernel = step.node.attributes.get("kernel_shape", ())
    if not isinstance(kernel, tuple):
        return False
    known = pool_geometry(step.node, [_WIDE] * len(kernel))
    return all(span <= stride for span, stride in zip(known.spans, known.strides, strict=True))


@dataclass(frozen=True)
class _Rectified:
    """Applies a rectifier's rule to the signal at a pool's output, and unpools what is left."""

    rectifier: Rule
    pool: Rule

    def __call__(self, at: Crossing, signals: Signals) -> Signals:
        return self.pool.apply(at, self.rectifier.apply(at, signals))
