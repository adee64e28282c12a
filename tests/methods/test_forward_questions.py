"""Capture and classify: what a forward run answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.engine.support import Subject, close
from tests.methods.small import engine_of, feeds_of, rectified

from unpool.methods import Activation, capture, classify

_Give = Callable[[str], Subject]


def test_captured_layers_equal_a_recorded_run_in_the_order_asked(model: _Give) -> None:
    subject = model("squeezenet")
    layers = [subject.layer(f) for f in (0.8, 0.1, 0.5)]
    found = [a for a in capture(subject.engine, subject.feeds, [x.name for x in layers]) if a is not None]
    assert [a.name for a in found] == [x.name for x in layers]
    for activation in found:
        theirs = subject.recording.values[activation.name].astype(np.float64)
        close(activation.values.astype(np.float64), theirs, relative=1e-4)


def test_every_layer_at_once_comes_in_several_runs(model: _Give) -> None:
    subject = model("squeezenet")
    names = [x.name for x in subject.engine.model.layers]
    items = list(capture(subject.engine, subject.feeds, names))
    assert [a.name for a in items if isinstance(a, Activation)] == names
    assert items.count(None) >= 1


def test_a_layer_may_be_asked_for_twice_and_by_node_name() -> None:
    engine = engine_of(rectified())
    feeds = feeds_of(engine, np.ones((1, 3, 12, 12), np.float32))
    found = [a for a in capture(engine, feeds, ["t1", "n1", "t1"]) if a is not None]
    assert [a.name for a in found] == ["t1"] * 3
    assert found[0].values.shape == (1, 4, 12, 12)


def test_classes_come_best_first(model: _Give) -> None:
    subject = model("efficientnet_lite0")
    output, scores = classify(subject.engine, subject.feeds, top=5)
    logits = subject.recording.values[output][0]
    assert [s.index for s in scores] == np.argsort(-logits)[:5].tolist()
    np.testing.assert_allclose([s.score for s in scores], np.sort(logits)[::-1][:5], rtol=1e-3)
    assert {s.index for s in scores[:2]} == {282, 285}, "a tiger cat, or an Egyptian one"
    _, likely = classify(subject.engine, subject.feeds, top=1000, probability=True)
    assert sum(s.score for s in likely) == pytest.approx(1)
    assert likely[0].score == pytest.approx(0.39, abs=0.03)
