"""Which units an answer is about: ranking, ties, positions, starts, maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.engine.support import Subject
from tests.methods.small import asked, copies, engine_of, feeds_of, pictured

from unpool.engine import Policy
from unpool.methods import Positions, ProjectionRequest, Start

_Give = Callable[[str], Subject]


def _plane(*channels: dict[tuple[int, int], float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    x = np.zeros((1, 3, 4, 5), np.float32)
    for c, places in enumerate(channels):
        for place, value in places.items():
            x[(0, c, *place)] = value
    return x


def test_the_strongest_position_is_the_first_among_equals_in_row_major_order() -> None:
    engine = engine_of(copies())
    x = _plane({(2, 1): 3, (1, 4): 3, (3, 0): 3}, {(0, 0): -1})
    _, found = asked(engine, feeds_of(engine, x), ProjectionRequest("t1", channels=(0, 1, 2)))
    assert [p.position for p in found] == [(1, 4), (0, 0), (0, 0)]
    assert [p.activation for p in found] == [3, 0, 0]
    assert [p.start_not_positive for p in found] == [False, True, True]


def test_top_gives_the_strongest_channels_equal_ones_by_index() -> None:
    engine = engine_of(copies())
    x = _plane({(0, 0): 2}, {(0, 0): 5}, {(3, 3): 5})
    feeds = feeds_of(engine, x)
    assert [p.channel for p in asked(engine, feeds, ProjectionRequest("t1", top=3))[1]] == [1, 2, 0]
    assert [p.channel for p in asked(engine, feeds, ProjectionRequest("t1", top=1))[1]] == [1]
    assert len(asked(engine, feeds, ProjectionRequest("t1", top=99))[1]) == 3


def test_units_behind_a_clip_are_ranked_by_what_goes_in() -> None:
    engine = engine_of(copies(upper=6))
    x = _plane({(0, 1): 7, (2, 2): 9, (3, 3): 8}, {(1, 1): 10}, {(0, 0): 6})
    _, found = asked(engine, feeds_of(engine, x), ProjectionRequest("t1", top=3))
    assert [(p.channel, p.position, p.activation, p.rank_value) for p in found] == [
        (1, (1, 1), 6, 10),
        (0, (2, 2), 6, 9),
        (2, (0, 0), 6, 6),
    ]
    assert [p.start for p in found] == [6, 6, 6], "the signal begins with the layer's own value"


def test_saturated_units_of_efficientnet_are_ranked_before_the_clip(model: _Give) -> None:
    subject = model("efficientnet_lite0")
    engine, feeds = subject.engine, subject.feeds
    clips = [layer for layer in engine.model.layers if layer.op_type == "Clip"]
    saturated = total = 0
    for layer in clips[:7:2]:
        _, found = asked(engine, feeds, ProjectionRequest(layer.name, top=10**6, to=layer.name))
        before = subject.recording.values[layer.rank_name][0]
        assert layer.rank_name != layer.name
        for p in found:
            expected = np.unravel_index(before[p.channel].argmax(), before.shape[1:])
            # Another runtime's maximum may stand elsewhere only where the two are near-ties.
            assert before[(p.channel, *p.position)] == pytest.approx(before[(p.channel, *expected)], rel=1e-4, abs=1e-4)
        ranks = [p.rank_value for p in found]
        assert ranks == sorted(ranks, reverse=True)
        clipped = sum(p.activation == 6 for p in found)
        for policy in (Policy.GUIDED, Policy.GRADIENT):
            header, _ = asked(engine, feeds, ProjectionRequest(layer.name, top=10**6, to=layer.name, policy=policy))
            assert any(f"{clipped} of {len(found)} units" in text for text in header.warnings) == (clipped > 0)
        saturated += clipped
        total += len(found)
        assert all(p.activation == pytest.approx(min(max(p.rank_value, 0), 6)) for p in found)
    assert saturated / total > 0.2, "many maxima are the bound itself, and without the rule they would tie"


def test_all_positions_are_projected_channel_by_channel_in_row_major_order() -> None:
    engine = engine_of(copies())
    x = np.random.default_rng(0).random((1, 3, 4, 5)).astype(np.float32)
    header, found = asked(
        engine, feeds_of(engine, x), ProjectionRequest("t1", channels=(2, 0), positions=Positions.ALL)
    )
    assert header.total == 40
    assert [(p.channel, p.position) for p in found] == [(c, (i, j)) for c in (2, 0) for i in range(4) for j in range(5)]
    for p in found:
        expected = np.zeros((3, 4, 5), np.float32)
        expected[(p.channel, *p.position)] = x[(0, p.channel, *p.position)]
        np.testing.assert_array_equal(pictured(p, header), expected)
        assert (p.lower, p.upper) == (p.position, tuple(i + 1 for i in p.position))


def test_named_positions_are_asked_of_every_named_channel() -> None:
    engine = engine_of(copies())
    x = np.random.default_rng(0).random((1, 3, 4, 5)).astype(np.float32)
    request = ProjectionRequest("t1", channels=(1, 2), positions=((3, 4), (0, 0)))
    _, found = asked(engine, feeds_of(engine, x), request)
    assert [(p.channel, p.position) for p in found] == [(1, (3, 4)), (1, (0, 0)), (2, (3, 4)), (2, (0, 0))]
    assert [p.activation for p in found] == [x[0, 1, 3, 4], x[0, 1, 0, 0], x[0, 2, 3, 4], x[0, 2, 0, 0]]


@pytest.mark.parametrize(
    ("policy", "start", "value", "begins"),
    [
        (Policy.DECONVNET, Start.DEFAULT, 1.0, 4.0),
        (Policy.GUIDED, Start.DEFAULT, 1.0, 1.0),
        (Policy.GRADIENT, Start.DEFAULT, 1.0, 1.0),
        (Policy.GRADIENT, Start.ACTIVATION, 1.0, 4.0),
        (Policy.DECONVNET, Start.ONE, 1.0, 1.0),
        (Policy.GUIDED, Start.VALUE, 2.5, 2.5),
        (Policy.DECONVNET, Start.VALUE, -1.0, -1.0),
    ],
)
def test_the_signal_begins_as_asked(policy: Policy, start: Start, value: float, begins: float) -> None:
    engine = engine_of(copies())
    request = ProjectionRequest("t1", channels=(0,), policy=policy, start=start, start_value=value)
    header, (found,) = asked(engine, feeds_of(engine, _plane({(1, 2): 4})), request)
    assert header.start is (start if start is not Start.DEFAULT else Start.ACTIVATION if begins == 4 else Start.ONE)
    assert found.start == begins
    assert found.start_not_positive is (begins <= 0)
    assert float(found.signal.sum()) == (begins if begins > 0 else 0)


def test_a_map_begins_with_its_own_pattern() -> None:
    engine = engine_of(copies())
    x = np.random.default_rng(0).random((1, 3, 4, 5)).astype(np.float32)
    request = ProjectionRequest("t1", channels=(1,), positions=Positions.MAP)
    header, (found,) = asked(engine, feeds_of(engine, x), request)
    assert found.position == ()
    assert found.activation == x[0, 1].max()
    expected = np.zeros((3, 4, 5), np.float32)
    expected[1] = x[0, 1]
    np.testing.assert_array_equal(pictured(found, header), expected)


def test_a_map_that_begins_at_a_value_is_even_also_where_the_value_is_the_maps_maximum() -> None:
    engine = engine_of(copies())
    x = _plane({(1, 2): 2, (3, 3): 1})
    request = ProjectionRequest("t1", (0,), positions=Positions.MAP, start=Start.VALUE, start_value=2.0)
    header, (found,) = asked(engine, feeds_of(engine, x), request)
    np.testing.assert_array_equal(pictured(found, header)[0], np.full((4, 5), 2, np.float32))


def test_a_map_is_the_sum_of_its_units_for_the_gradient(model: _Give) -> None:
    subject = model("squeezenet")
    layer = subject.layer(0.7)
    common = {"channels": (3,), "policy": Policy.GRADIENT, "start": Start.ACTIVATION}
    header, (whole,) = asked(
        subject.engine, subject.feeds, ProjectionRequest(layer.name, positions=Positions.MAP, **common)
    )
    _, parts = asked(subject.engine, subject.feeds, ProjectionRequest(layer.name, positions=Positions.ALL, **common))
    total = sum(pictured(p, header).astype(np.float64) for p in parts)
    scale = np.abs(total).max()
    assert scale > 0
    assert np.abs(pictured(whole, header) - total).max() <= 1e-5 * scale
