"""Projections against the plain NumPy reverse pass, on every model."""

from __future__ import annotations

import numpy as np
import pytest
from tests.engine.support import Subject, arrived, close, follow, one_hot, seed, units_at
from tests.oracles import deconvnet

from unpool.engine import Policy

_DEPTHS = {"shallow": 1 / 6, "middle": 1 / 2, "deep": 5 / 6, "output": 1.0}


@pytest.mark.parametrize("depth", _DEPTHS)
def test_projection_equals_the_plain_reverse_pass(
    subject: Subject, depth: str, record_property: pytest.RecordProperty
) -> None:
    engine, feeds, recording = subject.engine, subject.feeds, subject.recording
    layer = subject.layer(_DEPTHS[depth])
    if layer.op_type == "Softmax" and recording.values[layer.name].max() > 1 - 1e-6:
        # A saturated softmax has no derivative in float32: ask the scores that go in.
        layer = engine.model.layers.find(engine.model.graph.producers[layer.name].inputs[0])
    strengths: list[float] = []
    for policy in Policy:
        route = engine.route([layer.name], [feeds.of], policy)
        capture = subject.capture(route)
        values = capture.values[layer.name].numpy()
        units = units_at(values)
        starts = [float(values[(0, *u)]) for u in units] if policy is Policy.DECONVNET else [1.0] * len(units)
        masks, switches = follow(recording, engine, feeds, capture, route)
        ours = arrived(engine, route, capture, {layer.name: seed(engine, feeds, layer.name, units, starts)})
        theirs = deconvnet.reverse(recording, layer.name, one_hot(values.shape, units, starts), policy.value)
        worst = close(ours, theirs)
        strengths.append(float(np.abs(theirs[0]).max()))
        reached = f"{worst:.1e}, near-ties: masks {masks}, switches {switches}"
        record_property(f"{subject.name} {depth} {policy.value}", reached)
    # One policy may well be blank: a saturated ReLU6 has no derivative, and rectification may leave nothing.
    assert max(strengths) > 0, "every picture of the strongest unit is blank"


def test_captured_masks_and_switches_equal_another_run_except_at_near_ties(
    subject: Subject, record_property: pytest.RecordProperty
) -> None:
    engine, feeds = subject.engine, subject.feeds
    fresh = Subject(subject.name, subject.source, subject.tensor).recording
    route = engine.route(engine.model.graph.outputs, [feeds.of], Policy.GUIDED)
    masks, switches = follow(fresh, engine, feeds, subject.capture(route), route)
    total = sum(int(np.prod(subject.engine.geometry(feeds).shapes[m])) for m in route.masks | route.values)
    record_property(f"{subject.name} near-ties", f"masks {masks} of {total} captured, switches {switches}")
    assert masks + switches <= 64, "near-ties are a handful"
