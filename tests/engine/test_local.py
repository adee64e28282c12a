"""Local equals whole: boxes, pieces and parties change nothing; random networks equal the plain reverse pass."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.networks import networks
from tests.engine.support import Subject, arrived, close, follow, one_hot, seed, whole
from tests.oracles import deconvnet

from unpool.engine import EngineSettings, Policy
from unpool.engine.walk import Walker

_Network = tuple[bytes, npt.NDArray[np.float32], list[tuple[str, tuple[int, ...]]]]
# Verified: ONNX Runtime fuses a Pad into an AveragePool that then counts it otherwise.
_SETTINGS = EngineSettings(device="cpu", threads=1, verify=True)
_RUN = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def _subject(network: _Network) -> Subject:
    return Subject("random", network[0], network[1], _SETTINGS)


def _units(draw: st.DrawFn | st.DataObject, shape: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    one = st.tuples(*(st.integers(0, n - 1) for n in shape))
    strategy = st.lists(one, min_size=count, max_size=count)
    return draw.draw(strategy) if isinstance(draw, st.DataObject) else draw(strategy)


@_RUN
@given(network=networks(), data=st.data(), policy=st.sampled_from(Policy))
def test_projection_of_a_random_network_equals_the_plain_reverse_pass_and_the_whole_planes(
    network: _Network, data: st.DataObject, policy: Policy
) -> None:
    subject = _subject(network)
    engine, feeds = subject.engine, subject.feeds
    name, shape = data.draw(st.sampled_from(network[2]))
    units = _units(data, shape, 3)
    starts = [1.0, 2.0, 0.5]
    route = engine.route([name], [feeds.of], policy)
    capture = subject.capture(route)
    assert engine.geometry(feeds).shapes[name] == (1, *shape)
    local = arrived(engine, route, capture, {name: seed(engine, feeds, name, units, starts)})
    signal = one_hot((1, *shape), units, starts)
    planes = arrived(engine, route, capture, {name: whole(engine, feeds, name, signal)})
    close(local, planes)
    follow(subject.recording, engine, feeds, capture, route)
    close(local, deconvnet.reverse(subject.recording, name, signal, policy.value))


@settings(_RUN, max_examples=25)
@given(network=networks(), data=st.data(), policy=st.sampled_from(Policy))
def test_pieces_of_any_size_and_units_one_by_one_give_the_same(
    network: _Network, data: st.DataObject, policy: Policy
) -> None:
    subject = _subject(network)
    engine, feeds = subject.engine, subject.feeds
    name, shape = data.draw(st.sampled_from(network[2]))
    units = _units(data, shape, 7)
    starts = [1.0] * 7
    route = engine.route([name], [feeds.of], policy)
    capture = subject.capture(route)
    together = arrived(engine, route, capture, {name: seed(engine, feeds, name, units, starts)})
    single = [arrived(engine, route, capture, {name: seed(engine, feeds, name, [u], [1.0])}) for u in units]
    close(together, np.concatenate(single))
    for piece_bytes in (1, 4096):
        pieces = Walker(route, capture, engine.weights, piece_bytes).walk(
            {name: seed(engine, feeds, name, units, starts)}, np.zeros(7, np.int64)
        )
        arrivals = [p.units.tolist() for p in pieces if p is not None]
        assert sorted(itertools.chain(*arrivals)) == list(range(7))
        small = Subject(
            "random", network[0], network[1], EngineSettings("cpu", 1, piece_bytes=piece_bytes, verify=False)
        )
        close(arrived(small.engine, route, capture, {name: seed(engine, feeds, name, units, starts)}), together)


@settings(_RUN, max_examples=25)
@given(network=networks(), data=st.data())
def test_two_seeds_at_once_give_the_sum_of_two_walks(network: _Network, data: st.DataObject) -> None:
    subject = _subject(network)
    engine, feeds = subject.engine, subject.feeds
    chosen = [data.draw(st.sampled_from(network[2])) for _ in range(2)]
    if chosen[0] == chosen[1]:
        return
    seeds = {name: seed(engine, feeds, name, _units(data, shape, 2), [1.0, -2.0]) for name, shape in chosen}
    both = engine.route(seeds, [feeds.of], Policy.GRADIENT)
    capture = subject.capture(both)
    joint = arrived(engine, both, capture, seeds)
    apart = [
        arrived(engine, engine.route([n], [feeds.of], Policy.GRADIENT), capture, {n: s}).astype(np.float64)
        for n, s in seeds.items()
    ]
    scale = max(np.abs(a).max() for a in apart)
    assert np.abs(joint - sum(apart)).max() <= 1e-5 * scale


@settings(_RUN, max_examples=20)
@given(network=networks(), data=st.data(), policy=st.sampled_from(Policy))
def test_a_walk_to_a_tensor_on_the_way_equals_the_plain_one(
    network: _Network, data: st.DataObject, policy: Policy
) -> None:
    subject = _subject(network)
    engine, feeds = subject.engine, subject.feeds
    name, shape = network[2][-1]
    below = sorted({n for n, _ in network[2]} & engine.model.graph.ancestors([name]))
    to = data.draw(st.sampled_from(below))
    units = _units(data, shape, 2)
    route = engine.route([name], [to], policy)
    capture = subject.capture(route)
    ours = arrived(engine, route, capture, {name: seed(engine, feeds, name, units, [1.0, 1.0])})
    follow(subject.recording, engine, feeds, capture, route)
    theirs = deconvnet.reverse(subject.recording, name, one_hot((1, *shape), units, [1.0, 1.0]), policy.value, to)
    close(ours, theirs)


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
def test_local_equals_whole_on_real_models(subject: Subject, policy: Policy) -> None:
    engine, feeds = subject.engine, subject.feeds
    layer = subject.layer(0.25).name
    route = engine.route([layer], [feeds.of], policy)
    capture = subject.capture(route)
    shape = engine.geometry(feeds).shapes[layer]
    rng = np.random.default_rng(1)
    units = [tuple(0 for _ in shape[1:]), tuple(n - 1 for n in shape[1:])]
    units += [tuple(int(rng.integers(n)) for n in shape[1:]) for _ in range(2)]
    starts = [1.0] * len(units)
    local = arrived(engine, route, capture, {layer: seed(engine, feeds, layer, units, starts)})
    signal = one_hot(shape, units, starts)
    close(local, arrived(engine, route, capture, {layer: whole(engine, feeds, layer, signal)}))
