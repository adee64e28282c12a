"""Rectifiers applied before unpooling: the same signal, fewer values."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.engine.networks import Net
from tests.engine.support import arrived
from tests.methods.small import engine_of, feeds_of

from unpool.engine import Boxes, Engine, Policy, Route, Signal
from unpool.engine.plan import _steps
from unpool.engine.step import Step


def _network(stride: int, *, second_reader: bool = False) -> Engine:
    """Conv -> Relu (t1) -> MaxPool of 2x2 (t2) -> Conv (t3); the rectifier is read once more where asked for."""
    net = Net(np.random.default_rng(5), (3, 12, 12))
    net.add("Conv", ["x", net.normal(4, 3, 3, 3), net.normal(4)], pads=[1] * 4)
    net.add("Relu", [net.current])
    net.add("MaxPool", [net.current], kernel_shape=[2, 2], strides=[stride, stride])
    pooled = net.current
    if second_reader:
        net.add("MaxPool", ["t1"], kernel_shape=[3, 3], strides=[stride, stride], pads=[0, 0, 1, 1])
        net.add("Add", [pooled, net.current])
    net.add("Conv", [net.current, net.normal(5, 4, 3, 3), net.normal(5)], pads=[1] * 4)
    return engine_of(net.model((1, 3, 12, 12)))


def _plain(engine: Engine, found: Route) -> Route:
    """The same way, every rectifier at its own node."""
    graph = engine.model.graph
    active = set(graph.ancestors(found.seeds) & graph.descendants(found.to))
    steps: tuple[Step, ...] = tuple(_steps(graph, active, found.seeds, found.policy))
    masks = frozenset(s.node.outputs[0] for s in steps if s.rule.mask)
    return dataclasses.replace(found, steps=steps, masks=masks)


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
@pytest.mark.parametrize("stride", [2, 1])
@pytest.mark.parametrize("second_reader", [False, True])
def test_the_signal_is_the_same_wherever_it_is_rectified(policy: Policy, stride: int, second_reader: bool) -> None:
    engine = _network(stride, second_reader=second_reader)
    feeds = feeds_of(engine, np.random.default_rng(1).standard_normal((1, 3, 12, 12)).astype(np.float32))
    sink = engine.model.graph.outputs[0]
    found = engine.route([sink], ["x"], policy)
    plain = _plain(engine, found)
    moved = [s.node.op_type for s, t in zip(found.steps, plain.steps, strict=True) if s.rule != t.rule]
    assert moved == (["MaxPool", "Relu"] if stride == 2 and not second_reader else [])
    capture = engine.captured_for(feeds, plain, also=[sink])
    engine.captured_for(feeds, found)
    plane = engine.geometry(feeds).plane(sink)
    value = capture.values[sink].clone()
    seeds = {sink: Signal(value, Boxes.whole(plane, 1))}
    ours, expected = (arrived(engine, way, capture, seeds) for way in (found, plain))
    assert np.abs(expected).max() > 0
    np.testing.assert_array_equal(ours, expected)


def test_a_rectifier_where_a_signal_ends_keeps_its_place() -> None:
    engine = _network(2)
    found = engine.route([engine.model.graph.outputs[0]], ["t1"], Policy.DECONVNET)
    plain = _plain(engine, found)
    assert [s.rule for s in found.steps] == [s.rule for s in plain.steps]
    assert [s.node.op_type for s in found.steps] == ["Conv", "MaxPool"]


def test_signs_are_kept_for_the_pools_few_values() -> None:
    engine = _network(2)
    found = engine.route([engine.model.graph.outputs[0]], ["x"], Policy.GUIDED)
    assert found.masks == {"t2"}
