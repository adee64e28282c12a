"""Capturing: what a forward run has to give so that a signal can be carried back, and taking it down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from unpool.engine.captures import Capture, dense, sign
from unpool.engine.devices import Device
from unpool.engine.feeds import Feeds
from unpool.engine.forward import Forward
from unpool.engine.geometry import Geometry
from unpool.engine.memory import admit
from unpool.engine.plan import Plan
from unpool.engine.sessions import sign_name, switch_name
from unpool.engine.stumbling import STUMBLES, stumbled
from unpool.engine.switches import from_indices, from_input, taken
from unpool.graph.model import Graph, Node


@dataclass(frozen=True)
class Wanted:
    """What a capture lacks.

    Attributes:
        plan: gives it; ``None`` where nothing is lacking.
        values: value names to keep whole.
        masks: value names of which the sign is kept.
        direct: max-pool nodes whose switches the run gives.
        derived: max-pool nodes whose switches are derived from their inputs.
    """

    plan: Plan | None
    values: set[str]
    masks: set[str]
    direct: set[str]
    derived: set[str]


@dataclass(frozen=True)
class Capturing:
    """Captures of one model on one device.

    Attributes:
        graph: the model.
        device: where captures lie.
        forward: what runs.
        request_bytes: how much one run may take down.
    """

    graph: Graph
    device: Device
    forward: Forward
    request_bytes: int

    @cached_property
    def pools(self) -> Mapping[str, Node]:
        """Max-pool nodes by name."""
        return {n.name: n for n in self.graph.nodes if n.op_type == "MaxPool"}

    def admit(self, plan: Plan, geometry: Geometry) -> None:
        """Refuses a run that would take down too much.

        Raises:
            ExhaustedError: it does; the message says how much.
        """
        admit(plan, [self.pools[name].outputs[0] for name in plan.switches], geometry, self.request_bytes)

    def missing(self, found: Capture, values: Iterable[str], masks: Iterable[str], switches: Iterable[str]) -> Wanted:
        """What a capture lacks of some values, signs and switches."""
        missing = {v for v in values if v not in found.values}
        signs = {m for m in masks if m not in found.masks and m not in found.values} - missing
        pools = [self.pools[s] for s in switches if s not in found.switches]
        direct = {p.name for p in pools if taken(p, self.graph.values[p.inputs[0]].dtype, self.device)}
        derived = {p.name for p in pools} - direct
        inside = {m for m in signs if self._signed_inside(m)}
        sinks = missing | signs - inside | {self.pools[name].inputs[0] for name in derived}
        plan = Plan(frozenset(sinks), frozenset(direct), signs=frozenset(inside))
        return Wanted(None if plan.empty else plan, missing, signs, direct, derived)

    def _signed_inside(self, name: str) -> bool:
        """Whether the run itself can take a value's sign: what the model computes, in float32."""
        return name in self.graph.producers and self.graph.values[name].dtype == "float32"

    def fill(self, capture: Capture, feeds: Feeds, wanted: Wanted) -> None:
        """Runs for what a capture lacks, and adds it.

        Args:
            capture: it is added to.
            feeds: the inputs that it is of.
            wanted: what it lacks; something.

        Raises:
            PreconditionError: a max pool whose switches torch cannot find.
        """
        assert wanted.plan is not None
        found = self.forward.run(wanted.plan, feeds)
        for name in wanted.values:
            capture.values[name] = dense(_float32(found[name]).to(self.device.torch))
        for name in wanted.masks:
            inside = found.get(sign_name(name))
            capture.masks[name] = (sign(found[name]) if inside is None else dense(inside)).to(self.device.torch)
        for name in wanted.direct:
            pool = self.pools[name]
            extents = list(capture.geometry.shapes[pool.inputs[0]][2:])
            capture.switches[name] = dense(from_indices(found[switch_name(name)], pool, extents))
        for name in wanted.derived:
            pool = self.pools[name]
            capture.switches[name] = dense(_derived(found[pool.inputs[0]], pool))
        self.device.settle()


def _derived(tensor: torch.Tensor, pool: Node) -> torch.Tensor:
    """A max pool's switches, by its input."""
    try:
        return from_input(_float32(tensor), pool)
    except (NotImplementedError, *STUMBLES) as error:  # strides beyond what torch counts to, planes of many axes
        raise stumbled(pool, error, f"the switches of {pool} cannot be found: torch fails there") from error


def _float32(tensor: torch.Tensor) -> torch.Tensor:
    """Floats of any width as float32; everything else as it is."""
    return tensor.float() if tensor.is_floating_point() else tensor
