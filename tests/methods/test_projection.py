"""Projections of units, of class scores, and to tensors on the way, as a caller sees them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests import zoo
from tests.engine.networks import Net
from tests.engine.support import Subject, close, follow, one_hot
from tests.methods.small import asked, engine_of, feeds_of, pictured, rectified
from tests.oracles import deconvnet

from unpool.engine import Engine, EngineSettings, Policy
from unpool.methods import Positions, ProjectionRequest, Start, project

_Give = Callable[[str], Subject]


def _small(seed: int = 0, settings: EngineSettings | None = None) -> Subject:
    x = np.random.default_rng(seed).standard_normal((1, 3, 12, 12)).astype(np.float32)
    return Subject("small", rectified(), x, settings or EngineSettings(device="cpu", threads=1))


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
@pytest.mark.parametrize("name", ["squeezenet", "efficientnet_lite0"])
def test_projections_equal_the_plain_reverse_pass(model: _Give, name: str, policy: Policy) -> None:
    subject = model(name)
    engine, feeds = subject.engine, subject.feeds
    layer = subject.layer(0.4)
    header, found = asked(engine, feeds, ProjectionRequest(layer.name, top=4, policy=policy))
    route = engine.route([layer.name], [feeds.of], policy)
    follow(subject.recording, engine, feeds, subject.capture(route), route)
    units, starts = [(p.channel, *p.position) for p in found], [p.start for p in found]
    theirs = deconvnet.reverse(subject.recording, layer.name, one_hot(header.shape, units, starts), policy.value)
    close(np.stack([pictured(p, header) for p in found]), theirs)
    assert header.plane == (224, 224)
    assert header.sink_channels == 3
    assert (header.policy, header.to, header.layer) == (policy, feeds.of, layer.name)
    strength = [p.rank_value for p in found]
    assert strength == sorted(strength, reverse=True)


def test_class_scores_are_projected_over_the_whole_plane(model: _Give) -> None:
    subject = model("efficientnet_lite0")
    engine, feeds = subject.engine, subject.feeds
    output = engine.model.graph.outputs[0]
    header, found = asked(engine, feeds, ProjectionRequest(output, top=2, policy=Policy.GRADIENT))
    scores = engine.run(feeds)[output][0]
    assert [p.channel for p in found] == np.argsort(-scores)[:2].tolist()
    for p in found:
        assert p.position == ()
        assert (p.lower, p.upper) == ((0, 0), (224, 224))
        assert p.activation == pytest.approx(scores[p.channel], rel=1e-5)
    follow_route = engine.route([output], [feeds.of], Policy.GRADIENT)
    follow(subject.recording, engine, feeds, subject.capture(follow_route), follow_route)
    signal = one_hot(scores[None].shape, [(p.channel,) for p in found], [1.0, 1.0])
    theirs = deconvnet.reverse(subject.recording, output, signal, "gradient")
    close(np.stack([pictured(p, header) for p in found]), theirs)


def test_a_projection_may_end_at_a_tensor_on_the_way(model: _Give) -> None:
    subject = model("squeezenet")
    engine, feeds = subject.engine, subject.feeds
    high, low = subject.layer(0.6), subject.layer(0.3)
    request = ProjectionRequest(high.name, channels=(0, 5), to=low.name)
    header, found = asked(engine, feeds, request)
    shape = engine.geometry(feeds).shapes[low.name]
    assert (header.to, header.sink_channels, header.plane) == (low.name, shape[1], shape[2:])
    route = engine.route([high.name], [low.name], Policy.DECONVNET)
    follow(subject.recording, engine, feeds, subject.capture(route), route)
    signal = one_hot(header.shape, [(p.channel, *p.position) for p in found], [p.start for p in found])
    theirs = deconvnet.reverse(subject.recording, high.name, signal, "deconvnet", low.name)
    close(np.stack([pictured(p, header) for p in found]), theirs)


def test_a_projection_of_a_layer_to_itself_is_the_start(model: _Give) -> None:
    subject = model("squeezenet")
    layer = subject.layer(0.5)
    header, (found,) = asked(subject.engine, subject.feeds, ProjectionRequest(layer.name, channels=(7,), to=layer.name))
    expected = np.zeros((header.sink_channels, *header.plane), np.float32)
    expected[(7, *found.position)] = found.activation
    np.testing.assert_array_equal(pictured(found, header), expected)


def test_a_channels_last_model_gives_channels_first_pictures(model: _Give) -> None:
    subject = model("imagenet_vgg16")
    layer = next(x for x in subject.engine.model.layers if x.op_type == "Relu")
    header, (found,) = asked(subject.engine, subject.feeds, ProjectionRequest(layer.name, top=1))
    assert subject.tensor.shape == (1, 240, 240, 3)
    assert (header.plane, header.sink_channels) == ((240, 240), 3)
    assert found.signal.shape[0] == 3
    route = subject.engine.route([layer.name], [subject.feeds.of], Policy.DECONVNET)
    follow(subject.recording, subject.engine, subject.feeds, subject.capture(route), route)
    signal = one_hot(header.shape, [(found.channel, *found.position)], [found.start])
    theirs = deconvnet.reverse(subject.recording, layer.name, signal, "deconvnet")
    close(pictured(found, header)[None], theirs.transpose(0, 3, 1, 2))


def test_without_switches_a_deconvnet_picture_is_the_same_for_every_photograph(model: _Give) -> None:
    subject = model("efficientnet_lite0")
    engine, layer = subject.engine, subject.layer(0.5)
    coffee = feeds_of(engine, zoo.tensor("efficientnet_lite0", "coffee"))
    channels = tuple(range(0, 12))
    request = ProjectionRequest(layer.name, channels, positions=((7, 7),), start=Start.ONE)
    header, cat = asked(engine, subject.feeds, request)
    _, other = asked(engine, coffee, request)
    cosines = [_cosine(a.signal, b.signal) for a, b in zip(cat, other, strict=True) if np.abs(a.signal).max()]
    assert len(cosines) > 4
    assert min(cosines) > 0.9999
    assert header.switches == 0
    assert any("without switches" in w for w in header.warnings)
    # Guided masks by the forward pass, so that it does depend on the picture.
    guided = ProjectionRequest(layer.name, channels, positions=((7, 7),), policy=Policy.GUIDED)
    header, cat = asked(engine, subject.feeds, guided)
    _, other = asked(engine, coffee, guided)
    assert not header.warnings
    assert min(_cosine(a.signal, b.signal) for a, b in zip(cat, other, strict=True)) < 0.9


def test_with_switches_a_deconvnet_picture_depends_on_the_photograph(model: _Give) -> None:
    subject = model("squeezenet")
    layer = subject.layer(0.4)
    request = ProjectionRequest(layer.name, (0, 1, 2), positions=((5, 5),), start=Start.ONE)
    header, cat = asked(subject.engine, subject.feeds, request)
    coffee = feeds_of(subject.engine, zoo.tensor("squeezenet", "coffee"))
    _, other = asked(subject.engine, coffee, request)
    assert header.switches >= 1
    assert not header.warnings
    assert header.switches == subject.engine.switches(layer.name)
    assert max(_cosine(a.signal, b.signal) for a, b in zip(cat, other, strict=True)) < 0.9


def test_pieces_of_any_size_answer_the_same() -> None:
    request = ProjectionRequest("t4", (0, 1, 2, 3, 4, 5), positions=Positions.ALL, policy=Policy.GUIDED)
    subject = _small()
    _, expected = asked(subject.engine, subject.feeds, request)
    for changed in ({"piece_bytes": 1}, {"piece_bytes": 4096}, {"piece_bytes": 1 << 30}):
        other = _small(settings=EngineSettings(device="cpu", threads=1, **changed))
        _, found = asked(other.engine, other.feeds, request)
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours.channel, ours.position, ours.lower, ours.upper) == (
                theirs.channel, theirs.position, theirs.lower, theirs.upper
            )  # fmt: skip
            np.testing.assert_allclose(ours.signal, theirs.signal, atol=1e-5 * np.abs(theirs.signal).max(initial=1e-9))


def test_the_same_question_is_answered_with_the_same_bytes() -> None:
    request = ProjectionRequest("t4", top=6, positions=Positions.ALL)
    subject = _small()
    first, second = (asked(subject.engine, subject.feeds, request)[1] for _ in range(2))
    assert [p.signal.tobytes() for p in first] == [p.signal.tobytes() for p in second]


def test_an_answer_can_be_abandoned_between_two_pieces() -> None:
    subject = _small(settings=EngineSettings(device="cpu", threads=1, piece_bytes=1))
    stream = project(subject.engine, subject.feeds, ProjectionRequest("t4", top=6, positions=Positions.ALL))
    for _ in range(4):
        next(stream)
    stream.close()
    assert asked(subject.engine, subject.feeds, ProjectionRequest("t4", top=1))[1]


def test_nodes_that_the_policy_has_no_rule_for_are_told() -> None:
    net = Net(np.random.default_rng(0), (3, 8, 8))
    net.add("Conv", ["x", net.normal(4, 3, 3, 3)], pads=[1] * 4)
    convolved = net.current
    net.add("Sigmoid", [convolved])
    net.add("Mul", [convolved, net.current])
    net.add("Conv", [net.current, net.normal(2, 4, 1, 1)])
    engine: Engine = engine_of(net.model((1, 3, 8, 8)))
    feeds = feeds_of(engine, np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32))
    header, found = asked(engine, feeds, ProjectionRequest("t3", top=1))
    assert header.fallbacks
    assert {f.op_type for f in header.fallbacks} <= {"Sigmoid", "Mul", "Swish"}
    assert np.abs(found[0].signal).max() > 0
    header, _ = asked(engine, feeds, ProjectionRequest("t3", top=1, policy=Policy.GRADIENT))
    assert header.fallbacks == (), "the gradient's own rule is the vector-Jacobian product"


def _cosine(
    a: np.ndarray[tuple[int, ...], np.dtype[np.float32]], b: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> float:
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / norm if norm else 0.0
