"""Captures: what is run for, what is kept, how much, and where switches come from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tests.engine.networks import Net
from tests.methods.small import SETTINGS, engine_of, feeds_of, rectified
from tests.oracles.recording import record

import unpool.engine.capturing as capturing_module
import unpool.engine.forward as forward_module
from unpool.engine import Engine, EngineSettings, Feeds, Policy
from unpool.engine.captures import Capture, CaptureStore
from unpool.engine.plan import Plan
from unpool.engine.sessions import Session
from unpool.engine.switches import believed, from_indices, from_input
from unpool.graph.model import Array, Node


def _picture(seed: int = 0, images: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal((images, 3, 12, 12)).astype(np.float32)


@pytest.fixture
def engine() -> Iterator[Engine]:
    found = engine_of(rectified(), EngineSettings(device="cpu", threads=1, verify=False))
    yield found
    found.close()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The outputs of every run of a session."""
    seen: list[tuple[str, ...]] = []
    execute = forward_module.execute

    def counted(session: Session, feeds: object, device: object) -> dict[str, torch.Tensor]:
        seen.append(session.outputs)
        return execute(session, feeds, device)  # type: ignore[arg-type]

    monkeypatch.setattr(forward_module, "execute", counted)
    return seen


def test_a_second_question_about_the_same_picture_runs_nothing(engine: Engine, runs: list[tuple[str, ...]]) -> None:
    feeds = feeds_of(engine, _picture())
    route = engine.route(["t4"], ["x"], Policy.GUIDED)
    first = engine.captured_for(feeds, route, also=("t4",))
    assert len(runs) == 1
    again = feeds_of(engine, _picture())  # another array that holds the same
    assert engine.captured_for(again, route, also=("t4",)) is first
    assert len(runs) == 1
    engine.captured_for(feeds_of(engine, _picture(1)), route, also=("t4",))
    assert len(runs) == 2, "another picture has to be run"


def test_only_what_is_lacking_is_run_for(engine: Engine, runs: list[tuple[str, ...]]) -> None:
    feeds = feeds_of(engine, _picture())
    engine.captured_for(feeds, engine.route(["t2"], ["x"], Policy.DECONVNET), also=("t2",))
    engine.captured_for(feeds, engine.route(["t4"], ["x"], Policy.GUIDED), also=("t4",))
    assert runs == [("t1", "t2"), ("t4",)]


def test_masks_of_a_shallow_layer_cost_nothing_of_what_lies_above(engine: Engine) -> None:
    session = engine._forward._sessions.create(Plan(frozenset({"t1"})))
    assert session.outputs == ("t1",)
    cut = engine._forward._sessions._cut(Plan(frozenset({"t1"})))
    assert [n.op_type for n in cut.graph] == ["Conv", "Relu"]
    assert set(cut.graph.initializers) == {"w0", "w1"}


@pytest.mark.parametrize("extents", [(), (12,), (12, 10), (6, 8, 7)], ids=["2-D", "3-D", "4-D", "5-D"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_signs_are_those_of_the_values(
    extents: tuple[int, ...], dtype: type[np.floating], runs: list[tuple[str, ...]]
) -> None:
    """Taken inside the run or behind it, of what is computed and of the input itself, zeros among them."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shape = (2, 5, *extents)
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["t0"], "n0"), helper.make_node("Relu", ["t0"], ["t1"], "n1")],
        "signs",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("t1", kind, shape)],
    )
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    engine = engine_of(source)
    x = np.random.default_rng(0).integers(-2, 3, shape).astype(dtype)
    masks = engine.capture(feeds_of(engine, x), masks=["x", "t0", "t1"]).masks
    for name, value in (("x", x), ("t0", -x), ("t1", np.maximum(-x, 0))):
        assert masks[name].dtype is torch.uint8
        np.testing.assert_array_equal(masks[name].numpy(), value > 0, err_msg=name)
        if len(shape) in (4, 5):
            assert masks[name].movedim(1, -1).is_contiguous(), "channels innermost"
    inside = {name for run in runs for name in run if name.startswith("unpool/sign/")}
    assert inside == ({"unpool/sign/t0", "unpool/sign/t1"} if dtype is np.float32 else set())


def test_captures_stay_inside_their_budget() -> None:
    engine = engine_of(rectified(), EngineSettings(device="cpu", threads=1, capture_bytes=2_500, verify=False))
    route = engine.route(["t4"], ["x"], Policy.GRADIENT)
    kept: list[Capture] = []
    for i in range(6):
        kept.append(engine.captured_for(feeds_of(engine, _picture(i)), route, also=("t4",)))
        assert engine._captures.nbytes <= 2_500
    size = kept[0].nbytes
    assert len(engine._captures.digests()) == 2_500 // size >= 2
    newest = [feeds_of(engine, _picture(i)).digest for i in range(6)][-(2_500 // size) :]
    assert list(engine._captures.digests()) == newest, "the least recently used go first"


def test_a_capture_larger_than_the_whole_budget_is_used_and_not_kept() -> None:
    engine = engine_of(rectified(), EngineSettings(device="cpu", threads=1, capture_bytes=100, verify=False))
    route = engine.route(["t4"], ["x"], Policy.GUIDED)
    found = engine.captured_for(feeds_of(engine, _picture()), route)
    assert set(found.masks) == set(route.masks)
    assert engine._captures.nbytes == 0


def test_looking_at_a_capture_keeps_it_from_being_dropped_first() -> None:
    store = CaptureStore(3 * 40)
    geometry = engine_of(rectified()).declared_geometry()
    assert geometry is not None
    for name in "abc":
        store.put(name, Capture(geometry, 1, {"v": torch.zeros(10)}))
    assert store.get("a") is not None
    store.put("d", Capture(geometry, 1, {"v": torch.zeros(10)}))
    assert list(store.digests()) == ["c", "a", "d"]


def test_no_more_sessions_are_kept_than_allowed() -> None:
    engine = engine_of(rectified(), EngineSettings(device="cpu", threads=1, sessions=2, verify=False))
    feeds = feeds_of(engine, _picture())
    for name in ("t0", "t1", "t2", "t3", "t0"):
        engine.run(feeds, [name])
        assert len(engine._forward._sessions._sessions) <= 2


def test_a_session_that_lies_is_replaced_by_an_unfused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(rectified(), SETTINGS)
    made: list[bool] = []
    create = engine._forward._sessions.create

    def lying(plan: Plan, *, optimised: bool = True) -> Session:
        made.append(optimised)
        if not optimised:
            return create(plan, optimised=False)
        return engine_of(_other_weights())._forward._sessions.create(plan)

    monkeypatch.setattr(engine._forward._sessions, "create", lying)
    feeds = feeds_of(engine, _picture())
    honest = engine_of(rectified(), SETTINGS).run(feeds, ["t1"])["t1"]
    np.testing.assert_allclose(engine.run(feeds, ["t1"])["t1"], honest, rtol=1e-5, atol=1e-6)
    assert made == [True, False]
    engine.run(feeds, ["t1"])
    assert made == [True, False], "checked once, on its first input"


def _other_weights() -> bytes:
    """The same network with another seed."""
    net = Net(np.random.default_rng(99), (3, 12, 12))
    net.add("Conv", ["x", net.normal(4, 3, 3, 3), net.normal(4)], pads=[1] * 4)
    net.add("Relu", [net.current])
    return net.model((1, 3, 12, 12))


def test_indices_and_the_pools_input_give_the_same_switches(
    monkeypatch: pytest.MonkeyPatch, runs: list[tuple[str, ...]]
) -> None:
    feeds_engine = engine_of(rectified())
    feeds = feeds_of(feeds_engine, _picture())
    route = feeds_engine.route(["t4"], ["x"], Policy.DECONVNET)
    derived = feeds_engine.captured_for(feeds, route).switches["n2"]
    assert not any("switches" in name for run in runs for name in run)
    runs.clear()
    monkeypatch.setattr(capturing_module, "taken", believed)
    direct = engine_of(rectified()).captured_for(feeds, route).switches["n2"]
    assert any("switches" in name for run in runs for name in run)
    assert torch.equal(direct, derived)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    ceil=st.booleans(),
    padded=st.booleans(),
    images=st.integers(1, 2),
)
def test_switches_from_indices_equal_those_from_the_input_also_at_ties(
    seed: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    ceil: bool,
    padded: bool,
    images: int,
) -> None:
    pads = tuple(k // 2 for k in kernel) * 2 if padded else (0, 0, 0, 0)
    net = Net(np.random.default_rng(0), (3, 9, 10))
    attributes = {
        "kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads, "ceil_mode": int(ceil)
    }  # fmt: skip
    net.add("MaxPool", ["x"], **attributes)
    net.nodes[0].output.append("i")
    session = ort.InferenceSession(net.model((images, 3, 9, 10), ["t0", "i"]), providers=["CPUExecutionProvider"])
    # Few distinct values: most windows hold ties.
    x = np.random.default_rng(seed).integers(-2, 3, (images, 3, 9, 10)).astype(np.float32)
    y, indices = session.run(None, {"x": x})
    node = Node("n", "", "MaxPool", 17, ("x",), ("y", "i"), attributes)
    assert np.array_equal(x.ravel()[indices], y)
    given_ = from_indices(torch.from_numpy(indices), node, [9, 10])
    assert torch.equal(given_, from_input(torch.from_numpy(x), node))


def test_several_images_in_one_capture_equal_each_by_itself() -> None:
    engine = engine_of(rectified(("n", 3, 12, 12)))
    both = feeds_of(engine, np.concatenate([_picture(0), _picture(1)]))
    route = engine.route(["t4"], ["x"], Policy.GUIDED)
    joint = engine.captured_for(both, route, also=("t4",))
    assert joint.images == 2
    for i in range(2):
        single = engine.captured_for(Feeds({"x": _picture(i)}, "x"), route, also=("t4",))
        for name, mask in single.masks.items():
            assert torch.equal(joint.masks[name][i : i + 1], mask)
        for name, switches in single.switches.items():
            assert torch.equal(joint.switches[name][i : i + 1], switches)
        torch.testing.assert_close(joint.values["t4"][i : i + 1], single.values["t4"])


@pytest.mark.parametrize(
    ("amount", "pool"),
    [
        pytest.param(2, {"kernel_shape": [2, 2], "count_include_pad": 1}, id="a fusion that fails"),
        pytest.param(1, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, id="one that drops a window"),
    ],
)
def test_what_a_fusion_breaks_is_computed_without_it(amount: int, pool: dict[str, object]) -> None:
    """ONNX Runtime fuses a Pad into the pool behind it, and then refuses its own work or counts windows otherwise."""
    net = Net(np.random.default_rng(0), (3, 8, 8))
    net.add("Pad", ["x", net.weight(np.array([0, 0, 0, amount, 0, 0, amount, 0]))])
    net.add("AveragePool", [net.current], **pool)
    net.add("Relu", [net.current])
    source, x = net.model((1, 3, 8, 8)), np.random.default_rng(1).random((1, 3, 8, 8)).astype(np.float32)
    expected = record(onnx.load_from_string(source), {"x": x}).values["t1"]
    engine = engine_of(source)
    np.testing.assert_allclose(engine.run(feeds_of(engine, x), ["t1"])["t1"], expected, rtol=1e-5, atol=1e-6)
