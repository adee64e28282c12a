"""Questions that have no answer, and what they are told."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.engine.networks import Net
from tests.graph.builders import text_model
from tests.methods.small import asked, engine_of, feeds_of, rectified

from unpool.engine import Engine, Feeds, Policy
from unpool.graph import load
from unpool.graph.errors import InvalidArgumentError, NotFoundError, OutOfRangeError, PreconditionError
from unpool.methods import ProjectionRequest, capture, classify


def _picture(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal(shape or (1, 3, 12, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return engine_of(rectified())


@pytest.fixture(scope="module")
def feeds(engine: Engine) -> Feeds:
    return feeds_of(engine, _picture())


def test_an_unknown_layer_is_answered_with_the_nearest_names(engine: Engine, feeds: Feeds) -> None:
    with pytest.raises(NotFoundError) as refused:
        asked(engine, feeds, ProjectionRequest("t44", top=1))
    assert "t4" in refused.value.nearest
    assert "t44" in str(refused.value)


def test_an_unknown_sink_is_answered_with_the_nearest_names(engine: Engine, feeds: Feeds) -> None:
    with pytest.raises(NotFoundError) as refused:
        asked(engine, feeds, ProjectionRequest("t4", top=1, to="tt1"))
    assert "t1" in refused.value.nearest


def test_a_constant_is_no_place_for_a_signal_to_end(engine: Engine, feeds: Feeds) -> None:
    with pytest.raises(PreconditionError, match="constant"):
        asked(engine, feeds, ProjectionRequest("t4", top=1, to="w0"))


@pytest.mark.parametrize("channel", [6, 100, -1])
def test_a_channel_outside_is_told_the_range(engine: Engine, feeds: Feeds, channel: int) -> None:
    with pytest.raises(OutOfRangeError, match="0 to 5") as refused:
        asked(engine, feeds, ProjectionRequest("t4", channels=(0, channel)))
    assert refused.value.field == "channels[1]"


@pytest.mark.parametrize("position", [(6, 0), (0, 6), (-1, 0)])
def test_a_position_outside_is_told_the_plane(engine: Engine, feeds: Feeds, position: tuple[int, int]) -> None:
    with pytest.raises(OutOfRangeError, match=r"\(6, 6\)") as refused:
        asked(engine, feeds, ProjectionRequest("t4", (0,), positions=((0, 0), position)))
    assert refused.value.field == "positions[1]"


@pytest.mark.parametrize("position", [(1,), (1, 1, 1), ()])
def test_a_position_of_another_rank_is_refused(engine: Engine, feeds: Feeds, position: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match="2 axes") as refused:
        asked(engine, feeds, ProjectionRequest("t4", (0,), positions=(position,)))
    assert refused.value.field == "positions[0]"


@pytest.mark.parametrize("policy", Policy)
def test_a_layer_without_units_is_refused(policy: Policy) -> None:
    net = text_model(
        """agraph (float[1,2,h,w] x) => (float[1,2,p,q] y) {
            r = Relu (x)
            p = MaxPool <kernel_shape = [3, 3]> (r)
            y = Relu (p)
        }"""
    )
    engine = engine_of(net)
    for layer in ("p", "y"):
        with pytest.raises(PreconditionError, match=rf"'{layer}' is empty for this input, of extents \(1, 2, 2, 0\)"):
            asked(engine, feeds_of(engine, _picture(1, 2, 4, 2)), ProjectionRequest(layer, top=1, policy=policy))


def test_attributes_that_contradict_the_extents_cost_only_what_lies_behind() -> None:
    """The weights have an axis that neither the amounts nor the plane have, which is known once an input is."""
    weights = {"v": np.ones((2, 2, 3, 3), np.float32), "w": np.ones((2, 2, 1, 1, 1), np.float32)}
    net = text_model(
        """agraph (float[1,2,8,8] x) => (float[] y) {
            c = Conv (x, v)
            r = Relu (c)
            y = Conv <kernel_shape = [1, 1], pads = [0, 0, 0, 0]> (r, w)
        }""",
        weights,
    )
    engine = engine_of(net)
    assert [field.size for field in engine.receptive_field("r")] == [3, 3]
    header, _ = asked(engine, feeds_of(engine, _picture(1, 2, 8, 8)), ProjectionRequest("r", top=1))
    assert header.layer == "r"
    with pytest.raises(PreconditionError, match="'y'"):
        asked(engine, feeds_of(engine, _picture(1, 2, 8, 8)), ProjectionRequest("y", top=1))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ProjectionRequest("t4"), "channels"),
        (ProjectionRequest("t4", top=-1), "channels"),
        (ProjectionRequest("t4", (1,), top=1), "top"),
        (ProjectionRequest("t4", (1,), positions=()), "positions"),
    ],
)
def test_an_empty_or_double_question_is_refused(
    engine: Engine, feeds: Feeds, request_: ProjectionRequest, field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        asked(engine, feeds, request_)
    assert refused.value.field == field


def test_two_images_at_once_are_refused() -> None:
    engine = engine_of(rectified(("n", 3, 12, 12)))
    with pytest.raises(InvalidArgumentError, match="one image"):
        asked(engine, feeds_of(engine, _picture(2, 3, 12, 12)), ProjectionRequest("t4", top=1))


def test_an_input_with_nan_is_refused_before_anything_runs(engine: Engine) -> None:
    with pytest.raises(InvalidArgumentError, match="NaN"):
        asked(engine, feeds_of(engine, np.full((1, 3, 12, 12), np.nan, np.float32)), ProjectionRequest("t4", top=1))


def test_a_layer_below_the_sink_is_not_computed_from_it(engine: Engine, feeds: Feeds) -> None:
    with pytest.raises(PreconditionError, match="'t1' is not computed from 't3'"):
        asked(engine, feeds, ProjectionRequest("t1", top=1, to="t3"))


def _two_inputs() -> bytes:
    """``ya`` is computed from ``a`` alone, ``yb`` from ``b`` alone."""
    net = Net(np.random.default_rng(0), (3, 6, 6))
    nodes = [
        helper.make_node("Conv", [x, net.normal(2, 3, 3, 3)], [f"y{x}"], name=f"conv_{x}", pads=[1] * 4) for x in "ab"
    ]
    shapes = {"a": 3, "b": 3, "ya": 2, "yb": 2}
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, 6, 6]) for n, c in shapes.items()]
    graph = helper.make_graph(nodes, "two", infos[:2], infos[2:], net.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_a_layer_that_the_looked_at_input_does_not_reach_is_refused() -> None:
    engine = engine_of(_two_inputs())
    arrays = {"a": _picture(1, 3, 6, 6), "b": _picture(1, 3, 6, 6)}
    with pytest.raises(PreconditionError, match="'yb' is not computed from 'a'"):
        asked(engine, Feeds(arrays, "a"), ProjectionRequest("yb", top=1))
    assert asked(engine, Feeds(arrays, "b"), ProjectionRequest("yb", top=1))[1]


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
def test_a_node_that_no_signal_can_cross_is_named(policy: Policy) -> None:
    net = Net(np.random.default_rng(0), (3, 6, 6))
    net.add("Conv", ["x", net.normal(2, 3, 3, 3)], pads=[1] * 4)
    net.nodes.append(helper.make_node("Bernoulli", [net.current], ["noise"], name="the_noise"))
    net.nodes.append(helper.make_node("Conv", ["noise", net.normal(3, 2, 1, 1)], ["last"]))
    net.current = "last"
    engine = engine_of(net.model((1, 3, 6, 6)))
    feeds = feeds_of(engine, _picture(1, 3, 6, 6))
    with pytest.raises(PreconditionError, match="the_noise") as refused:
        asked(engine, feeds, ProjectionRequest("last", top=1, policy=policy))
    assert refused.value.node == "the_noise"
    assert asked(engine, feeds, ProjectionRequest("t0", top=1, policy=policy))[1], "what lies below is served"


def test_noise_of_the_extents_of_a_signal_stands_in_no_signals_way() -> None:
    """As in networks that draw what they add: the gradient goes round it, the extents have none."""
    net = Net(np.random.default_rng(0), (3, 6, 6))
    mean = net.add("Conv", ["x", net.normal(2, 3, 3, 3)], pads=[1] * 4)
    net.add("Mul", [net.add("RandomNormalLike", [mean]), net.weight(np.float32(0.5))])
    net.add("Add", [mean, net.current])
    engine = engine_of(net.model((1, 3, 6, 6)))
    feeds = feeds_of(engine, _picture(1, 3, 6, 6))
    places = {"channels": (1,), "positions": ((2, 3),), "policy": Policy.GRADIENT}
    _, (found,) = asked(engine, feeds, ProjectionRequest(net.current, **places))
    _, (wanted,) = asked(engine, feeds, ProjectionRequest(mean, **places))
    np.testing.assert_array_equal(found.signal, wanted.signal)
    with pytest.raises(PreconditionError, match="'t1' to 'x': it is computed from the extents alone"):
        asked(engine, feeds, ProjectionRequest("t1", **places))


def test_a_capture_of_no_layers_or_unknown_ones_is_refused(engine: Engine, feeds: Feeds) -> None:
    with pytest.raises(InvalidArgumentError, match="at least one"):
        list(capture(engine, feeds, []))
    with pytest.raises(NotFoundError):
        list(capture(engine, feeds, ["t1", "nowhere"]))


def test_an_unknown_output_or_no_classes_are_refused(engine: Engine, feeds: Feeds) -> None:
    with pytest.raises(NotFoundError):
        classify(engine, feeds, top=1, output="scores")
    with pytest.raises(InvalidArgumentError):
        classify(engine, feeds, top=0)
    with pytest.raises(PreconditionError, match="class scores"):
        classify(engine, feeds, top=1)


def test_a_projection_that_is_not_finite_is_refused_with_its_unit() -> None:
    engine = Engine(load(text_model("g (float[n, 2, 3] x) => (float[n, 2, 3] y) { y = Acos(x) }")))
    feeds = Feeds({"x": np.array([[[0.5, 1.0, 0.0], [0.0, 0.0, 0.5]]], np.float32)}, "x")
    request = ProjectionRequest("y", (0,), positions=((0, 1),), policy=Policy.GRADIENT)
    with pytest.raises(PreconditionError, match=r"channel 0 of 'y' at \(0, 1\) is not finite.*infinite"):
        asked(engine, feeds, request)


def test_a_divisor_that_was_rounded_to_zero_leaves_a_projection_finite() -> None:
    """As in a norm written out and quantised, where the deviation of a quiet channel is less than half a step."""
    engine = Engine(
        load(
            text_model(
                """g (float[n, 2, 3] x) => (float[n, 2, 3] y) {
                    squares = Mul(x, x)
                    mean = ReduceMean<axes = [2]>(squares)
                    stored = QuantizeLinear(mean, step, zero)
                    rounded = DequantizeLinear(stored, step, zero)
                    deviation = Sqrt(rounded)
                    wide = Div(x, deviation)
                    steps = QuantizeLinear(wide, step, middle)
                    y = DequantizeLinear(steps, step, middle)
                }""",
                {"step": np.float32(0.1), "zero": np.uint8(0), "middle": np.uint8(128)},
            )
        )
    )
    feeds = Feeds({"x": np.array([[[0.1, -0.1, 0.1], [1.0, 2.0, -3.0]]], np.float32)}, "x")
    for policy in Policy:
        request = ProjectionRequest("y", (0,), positions=((0, 1), (1, 1)), policy=policy)
        _, (quiet, loud) = asked(engine, feeds, request)
        assert not quiet.signal.any()
        assert np.isfinite(loud.signal).all()
        assert loud.signal.any()
