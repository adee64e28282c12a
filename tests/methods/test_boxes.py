"""The box of a projection is the unit's receptive field inside the plane."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.engine.networks import Net
from tests.engine.support import Subject
from tests.methods.small import asked, engine_of, feeds_of

from unpool.engine import Engine, Feeds, Policy
from unpool.methods import ProjectionRequest

_Give = Callable[[str], Subject]


def _dense() -> bytes:
    """Every weight positive and no rectifier: each pixel of a receptive field counts."""
    net = Net(np.random.default_rng(5), (3, 30, 26))
    positive = lambda *shape: net.weight(net.rng.uniform(0.1, 1, shape).astype(np.float32))  # noqa: E731
    net.add("Conv", ["x", positive(4, 3, 3, 3)], pads=[1] * 4)
    net.add("AveragePool", [net.current], kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0])
    net.add("Conv", [net.current, positive(4, 4, 3, 3)], pads=[2, 1, 2, 1], dilations=[2, 1])
    return net.model((1, 3, 30, 26))


def _affected(
    engine: Engine, feeds: Feeds, layer: str, unit: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The box of pixels that change a unit's value, found by changing whole rows and columns of the input."""
    x = feeds.arrays[feeds.of]
    before = engine.run(feeds, [layer])[layer][(0, *unit)]
    lower, upper = [], []
    for axis in (2, 3):
        seen = []
        for i in range(x.shape[axis]):
            changed = x.copy()
            index: list[slice | int] = [slice(None)] * 4
            index[axis] = i
            changed[tuple(index)] += 10
            if engine.run(feeds_of(engine, changed), [layer])[layer][(0, *unit)] != before:
                seen.append(i)
        lower.append(min(seen))
        upper.append(max(seen) + 1)
    return tuple(lower), tuple(upper)


@pytest.mark.parametrize("position", [(0, 0), (7, 6), (14, 12), (0, 12), (2, 3)])
def test_the_box_holds_just_the_pixels_that_change_the_unit(position: tuple[int, int]) -> None:
    engine = engine_of(_dense())
    feeds = feeds_of(engine, np.random.default_rng(0).random((1, 3, 30, 26)).astype(np.float32))
    request = ProjectionRequest("t2", (1,), positions=(position,), policy=Policy.GRADIENT)
    _, (found,) = asked(engine, feeds, request)
    assert (found.lower, found.upper) == _affected(engine, feeds, "t2", (1, *position))
    # All weights are positive: the gradient touches every border of the box.
    for axis in (1, 2):
        for end in (0, -1):
            assert np.abs(found.signal.take(end, axis)).max() > 0


@pytest.mark.parametrize("fraction", [0.15, 0.3])
def test_no_pixel_outside_the_box_changes_the_unit_of_a_real_model(model: _Give, fraction: float) -> None:
    subject = model("squeezenet")
    engine, feeds = subject.engine, subject.feeds
    layer = subject.layer(fraction)
    shape = engine.geometry(feeds).shapes[layer.name]
    position = (shape[2] // 2, shape[3] // 3)
    values = engine.run(feeds, [layer.name])[layer.name]
    channel = int(values[(0, slice(None), *position)].argmax())
    _, (found,) = asked(engine, feeds, ProjectionRequest(layer.name, (channel,), positions=(position,)))
    inside = np.zeros(subject.tensor.shape, bool)
    inside[(slice(None), slice(None), *map(slice, found.lower, found.upper))] = True
    assert 0 < inside.mean() < 1
    noise = np.random.default_rng(0).standard_normal(subject.tensor.shape).astype(np.float32)
    outside = np.where(inside, subject.tensor, noise)
    unit = (0, channel, *position)
    assert engine.run(feeds_of(engine, outside), [layer.name])[layer.name][unit] == pytest.approx(
        values[unit], rel=1e-5
    )
    within = np.where(inside, noise, subject.tensor)
    assert engine.run(feeds_of(engine, within), [layer.name])[layer.name][unit] != pytest.approx(values[unit], rel=1e-3)


def test_the_box_agrees_with_the_layers_receptive_field(model: _Give) -> None:
    subject = model("squeezenet")
    layer = subject.layer(0.3)
    fields = subject.engine.receptive_field(layer.name)
    for position in ((0, 0), (11, 17), (3, 20)):
        request = ProjectionRequest(layer.name, (0,), positions=(position,))
        header, (found,) = asked(subject.engine, subject.feeds, request)
        for field, place, low, high, extent in zip(
            fields, position, found.lower, found.upper, header.plane, strict=True
        ):
            assert not field.whole
            assert low == max(0, field.offset + place * field.stride)
            assert high == min(extent, field.offset + place * field.stride + field.size)
