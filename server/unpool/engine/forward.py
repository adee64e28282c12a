"""Forward runs: a plan's session, made in stages and checked once, and what it gives as torch tensors."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from unpool.engine.devices import Device
from unpool.engine.feeds import Feeds
from unpool.engine.plan import Plan
from unpool.engine.sessions import Session, Sessions, execute
from unpool.engine.settings import EngineSettings
from unpool.engine.verification import agree
from unpool.graph import Model


class Forward:
    """Runs plans of one model on one device."""

    def __init__(self, model: Model, device: Device, settings: EngineSettings) -> None:
        self._graph = model.graph
        self._device = device
        self._verify = settings.verify
        self._sessions = Sessions(model.runtime, device, threads=settings.thread_count, limit=settings.sessions)

    def close(self) -> None:
        """Lets go of every session and weight."""
        self._sessions.close()

    def prepare(self) -> None:
        """Makes the plain session, from the model's inputs to its outputs."""
        plan = Plan(frozenset(self._graph.outputs))
        if self._sessions.find(plan) is None:
            self._sessions.keep(plan, self._sessions.create(plan))

    def opening(self, plan: Plan, feeds: Feeds) -> Generator[None, None, Session | None]:
        """Makes the session of a plan, unless there is one; pauses between its stages.

        A session with taps is checked on its first input against one that may not fuse anything, which takes its place
        where the two disagree.

        Returns:
            The session; ``None`` where the plan needs no run.
        """
        plan = self._computed(plan)
        if plan.empty:
            return None
        if (kept := self._sessions.find(plan)) is not None:
            return kept
        session = self._sessions.create(plan)
        yield
        if self._verify and (plan.signs or not plan.sinks <= set(self._graph.outputs)):
            found = execute(session, feeds.arrays, self._device)
            yield
            plain = self._sessions.create(plan, optimised=False)
            yield
            if not agree(found, execute(plain, feeds.arrays, self._device)):
                session = plain
            yield
        self._sessions.keep(plan, session)
        return session

    def attempt(self, feeds: Feeds, seconds: float) -> None:
        """Runs the plain session once; see ``Engine.attempt``."""
        self.prepare()
        session = self._sessions.find(self._computed(Plan(frozenset(self._graph.outputs))))
        if session is not None:
            execute(session, feeds.arrays, self._device, seconds)

    def run(self, plan: Plan, feeds: Feeds) -> dict[str, Tensor]:
        """Runs a plan; what it asks of inputs and constants is given as it is.

        Returns:
            Name -> tensor for every sink, and under ``switch_name``, ``shape_name`` and ``sign_name`` what else the
            plan asks for.
        """
        constants, inputs = self._graph.constants, set(self._graph.inputs)
        given = {n: torch.from_numpy(np.asarray(feeds.arrays[n], order="C")) for n in plan.sinks & inputs}
        given |= {n: torch.from_numpy(constants[n].numpy().copy()) for n in plan.sinks if n in constants}
        session = _drained(self.opening(plan, feeds))
        if session is None:
            return given
        return execute(session, feeds.arrays, self._device) | given

    def _computed(self, plan: Plan) -> Plan:
        """The plan without what needs no run."""
        known = {n for n in plan.sinks if n in self._graph.inputs or n in self._graph.constants}
        return replace(plan, sinks=plan.sinks - known)


def _drained(stages: Generator[None, None, Session | None]) -> Session | None:
    """What a generator returns when nobody pauses it."""
    while True:
        try:
            next(stages)
        except StopIteration as stop:
            found: Session | None = stop.value
            return found
