"""If that an input decides: the branch it takes is crossed, exactly, whatever inputs came before in the same engine."""

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import torch
from tests.graph.builders import run, text_model
from tests.methods.small import asked, engine_of, feeds_of, pictured

from unpool.engine import Engine, EngineSettings, Feeds, Policy, branching
from unpool.graph import Model, decide, load
from unpool.graph.errors import ModelError, NotFoundError, PreconditionError
from unpool.methods import (
    Mode,
    OcclusionHeader,
    OcclusionRequest,
    OcclusionTile,
    ProjectionRequest,
    Target,
    capture,
    occlude,
)

Floats = npt.NDArray[np.float32]
RNG = np.random.default_rng(7)
WEIGHTS = {
    "w": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32),
    "v": RNG.normal(size=(5, 4, 3, 3)).astype(np.float32),
    "u": RNG.normal(size=(5, 4, 1, 1)).astype(np.float32),
}
X = RNG.normal(size=(1, 3, 8, 8)).astype(np.float32)
X[0, 0, 0, 0] = 40  # the sum over the picture is this pixel's

# Both branches call a tensor `inner`, and what lies before the If is read in both.
BODY = """
    c = Conv <pads = [1, 1, 1, 1]> (x, w)
    r = Relu (c)
    z = If <
        then_branch = a () => (float[n,5,8,8] t) {
            inner = Conv <pads = [1, 1, 1, 1]> (r, v)
            t = Relu (inner)
        },
        else_branch = b () => (float[n,5,p,q] t) {
            m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
            inner = Conv (m, u)
            t = Relu (inner)
        }
    > (cond)
    y = GlobalAveragePool (z)
"""
OF_THE_PICTURE = """
    total = ReduceSum <keepdims = 0> (x)
    zero = Constant <value = float {0.0}> ()
    cond = Greater (total, zero)
"""
TAKEN = {
    True: "inner = Conv <pads = [1, 1, 1, 1]> (r, v)",
    False: "m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r) inner = Conv (m, u)",
}


def by_the_picture() -> bytes:
    text = f"agraph (float[1,3,8,8] x) => (float[1,5,1,1] y) {{ {OF_THE_PICTURE} {BODY} }}"
    return text_model(text, WEIGHTS)


OF_THE_EXTENTS = """
    shape = Shape (x)
    last = Constant <value = int64 {3}> ()
    width = Gather (shape, last)
    most = Constant <value = int64 {8}> ()
    cond = Equal (width, most)
"""


def by_the_width() -> bytes:
    text = f"agraph (float[1,3,h,w] x) => (float[1,5,1,1] y) {{ {OF_THE_EXTENTS} {BODY} }}"
    return text_model(text, WEIGHTS)


def by_a_switch() -> bytes:
    return text_model(f"agraph (float[1,3,8,8] x, bool cond) => (float[1,5,1,1] y) {{ {BODY} }}", WEIGHTS)


def written_without(taken: bool) -> bytes:
    """The same network as if it had only the branch that is taken."""
    text = f"""agraph (float[1,3,8,8] x) => (float[1,5,1,1] y) {{
        c = Conv <pads = [1, 1, 1, 1]> (x, w)
        r = Relu (c)
        {TAKEN[taken]}
        z = Relu (inner)
        y = GlobalAveragePool (z)
    }}"""
    return text_model(text, WEIGHTS)


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("layer", ["y", "z", "inner", "r"])
def test_each_input_is_projected_through_the_branch_that_it_takes(policy: Policy, layer: str) -> None:
    engine = engine_of(by_the_picture())
    plain = {taken: engine_of(written_without(taken)) for taken in (True, False)}
    request = ProjectionRequest(layer, top=3, policy=policy)
    for x in (X, -X, 2 * X, -X):  # back and forth
        _, expected = asked(plain[bool(x.sum() > 0)], feeds_of(engine, x), request)
        header, found = asked(engine, feeds_of(engine, x), request)
        assert [(p.channel, p.position) for p in found] == [(p.channel, p.position) for p in expected]
        for p, q in zip(found, expected, strict=True):
            np.testing.assert_allclose(pictured(p, header), pictured(q, header), rtol=1e-5, atol=1e-5)


def test_the_gradient_is_autograds() -> None:
    engine = engine_of(by_the_picture())
    for x in (X, -X):
        header, (found,) = asked(engine, feeds_of(engine, x), ProjectionRequest("y", top=1, policy=Policy.GRADIENT))
        leaf = torch.from_numpy(x).requires_grad_()
        maps = torch.relu(torch.nn.functional.conv2d(leaf, torch.from_numpy(WEIGHTS["w"]), padding=1))
        if x.sum() > 0:
            maps = torch.nn.functional.conv2d(maps, torch.from_numpy(WEIGHTS["v"]), padding=1)
        else:
            maps = torch.nn.functional.conv2d(torch.nn.functional.max_pool2d(maps, 2), torch.from_numpy(WEIGHTS["u"]))
        torch.relu(maps)[0, found.channel].mean().backward()
        assert leaf.grad is not None
        np.testing.assert_allclose(pictured(found, header), leaf.grad[0].numpy(), rtol=1e-4, atol=1e-5)


def test_layers_of_a_branch_are_captured_where_it_is_taken_and_not_known_where_it_is_not() -> None:
    engine = engine_of(by_the_picture())
    expected = run(written_without(False), {"x": -X})
    y, m = (i.values for i in capture(engine, feeds_of(engine, -X), ("y", "m")) if i is not None)
    np.testing.assert_allclose(y, expected[0], rtol=1e-4, atol=1e-5)
    assert m.shape == (1, 4, 4, 4)
    with pytest.raises(NotFoundError, match="no layer 'm'"):
        list(capture(engine, feeds_of(engine, X), ("m",)))


def test_the_if_still_answers_to_its_name() -> None:
    proto = onnx.ModelProto.FromString(by_the_picture())
    next(n for n in proto.graph.node if n.op_type == "If").name = "choice"
    engine = engine_of(proto.SerializeToString())
    for x in (X, -X):
        assert engine.taken(feeds_of(engine, x)).model.layers.find("choice").name == "z"


def chained(depth: int) -> bytes:
    """Ifs one after another, each of which doubles or negates, and within each branch another If of a second row."""
    steps = "\n".join(
        f"""s{i + 1} = If <
            then_branch = a{i} () => (float[1,4] t{i}) {{
                t{i} = If <
                    then_branch = aa{i} () => (float[1,4] u{i}) {{ u{i} = Add (s{i}, s{i}) }},
                    else_branch = ab{i} () => (float[1,4] u{i}) {{ u{i} = Neg (s{i}) }}
                > (q{i})
            }},
            else_branch = b{i} () => (float[1,4] t{i}) {{
                e{i} = If <
                    then_branch = ba{i} () => (float[1,4] u{i}) {{ u{i} = Tanh (s{i}) }},
                    else_branch = bb{i} () => (float[1,4] u{i}) {{ u{i} = Sigmoid (s{i}) }}
                > (q{i})
                t{i} = Mul (e{i}, s{i})
            }}
        > (p{i})"""
        for i in range(depth)
    )
    switches = ", ".join(f"bool p{i}, bool q{i}" for i in range(depth))
    return text_model(
        f"agraph (float[1,4] x, {switches}) => (float[1,4] y) {{ s0 = MatMul (x, k) {steps} y = Identity (s{depth}) }}",
        {"k": RNG.normal(size=(4, 4)).astype(np.float32)},
    )


STEPS: dict[tuple[bool, bool], Callable[[torch.Tensor], torch.Tensor]] = {
    (True, True): lambda s: s + s,
    (True, False): lambda s: -s,
    (False, True): lambda s: torch.tanh(s) * s,
    (False, False): lambda s: torch.sigmoid(s) * s,
}


def test_ifs_within_ifs_in_every_combination_of_one_engine() -> None:
    source = chained(2)
    engine = engine_of(source)
    kernel = next(c.numpy() for n, c in engine.model.graph.constants.items() if n == "k")
    x = RNG.normal(size=(1, 4)).astype(np.float32)
    for _ in range(2):  # sixteen combinations: more than are kept
        for bits in itertools.product((True, False), repeat=4):
            feeds = feeds_of(engine, x, *(np.array(bit) for bit in bits))
            header, (found,) = asked(engine, feeds, ProjectionRequest("y", channels=(2,), policy=Policy.GRADIENT))
            leaf = torch.from_numpy(x).requires_grad_()
            value = leaf @ torch.from_numpy(kernel)
            for pair in (bits[:2], bits[2:]):
                value = STEPS[pair](value)  # type: ignore[index]
            assert found.activation == pytest.approx(value[0, 2].item(), rel=1e-4, abs=1e-6)
            value[0, 2].backward()
            assert leaf.grad is not None
            np.testing.assert_allclose(pictured(found, header).ravel(), leaf.grad[0].numpy(), rtol=1e-4, atol=1e-5)


def test_the_ways_take_every_branch() -> None:
    found = load(chained(2)).ways
    assert all(way.model is not None and not way.reason for way in found)
    kinds = {node.op_type for way in found if way.model is not None for node in way.model.graph.nodes}
    assert {"Add", "Neg", "Tanh", "Sigmoid"} <= kinds
    assert "If" not in kinds
    assert [way.first for way in found] == [2] * 4


def grid(engine: Engine, feeds: Feeds, mode: Mode) -> tuple[OcclusionHeader, npt.NDArray[np.float64]]:
    request = OcclusionRequest((3, 3), (1, 1), targets=tuple(Target.element(c, 0, 0) for c in range(5)), mode=mode)
    header, scores = None, np.full((5, 36), np.nan)
    for item in occlude(engine, feeds, request):
        if isinstance(item, OcclusionHeader):
            header = item
        elif isinstance(item, OcclusionTile):
            scores[:, item.numbers] = item.scores
    assert header is not None
    return header, scores.reshape(5, 6, 6)


def brute(source: bytes, x: Floats, **others: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.float64], set[bool]]:
    """Every window painted with zeros and run through the file as it is; and the signs of the sums."""
    session = ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    scores, signs = np.empty((5, 6, 6)), set()
    for i, j in itertools.product(range(6), repeat=2):
        hidden = x.copy()
        hidden[..., i : i + 3, j : j + 3] = 0
        signs.add(bool(hidden.sum() > 0))
        scores[:, i, j] = session.run(None, {"x": hidden, **others})[0].ravel()
    return scores, signs


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.BOXES, Mode.BRUTE_FORCE])
def test_a_window_that_turns_the_condition_takes_the_other_branch(mode: Mode) -> None:
    x = -np.abs(X)
    x[0, 0, 0, 0] = 400
    expected, signs = brute(by_the_picture(), x)
    assert signs == {True, False}, "some windows hide what makes the sum positive"
    engine = engine_of(by_the_picture())
    _, found = grid(engine, feeds_of(engine, x), mode)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    # What was captured for the one question does not stand in for what the other needs.
    request = ProjectionRequest("y", top=1, policy=Policy.GRADIENT)
    _, (projected,) = asked(engine, feeds_of(engine, x), request)
    _, (alone,) = asked(engine_of(by_the_picture()), feeds_of(engine, x), request)
    np.testing.assert_array_equal(projected.signal, alone.signal)


@pytest.mark.parametrize("switch", [True, False])
def test_a_condition_that_no_window_reaches_leaves_boxes(switch: bool) -> None:
    source = by_a_switch()
    engine = engine_of(source)
    feeds = feeds_of(engine, X, np.array(switch))
    expected, _ = brute(source, X, cond=np.array(switch))
    header, found = grid(engine, feeds, Mode.BOXES)
    assert header.boxed, "the branch's convolution is run on boxes"
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_extents_stay_when_windows_change_a_picture() -> None:
    source = by_the_width()
    engine = engine_of(source)
    feeds = feeds_of(engine, X)
    assert "inner" in engine.taken(feeds, changing="x").model.graph.values, "the branch is known beforehand"
    expected, _ = brute(source, X)
    _, found = grid(engine, feeds, Mode.BOXES)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_branch_that_cannot_be_served_is_refused_and_the_other_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(model: Model, conditions: Mapping[str, bool]) -> Model:
        if conditions["cond"]:
            raise ModelError("Conv node 'c' is broken", node="c")
        return decide(model, conditions)

    monkeypatch.setattr(branching, "decide", refusing)
    engine = engine_of(by_a_switch())
    request = ProjectionRequest("y", channels=(0,), policy=Policy.GRADIENT)
    for _ in range(2):
        with pytest.raises(PreconditionError) as caught:
            asked(engine, feeds_of(engine, X, np.array(True)), request)
        told = "the branch that this input takes (where 'cond' is true) cannot be served: Conv node 'c' is broken"
        assert (str(caught.value), caught.value.node) == (told, "c")
        asked(engine, feeds_of(engine, X, np.array(False)), request)


def test_a_condition_of_several_elements_is_refused_by_name() -> None:
    source = text_model(
        """agraph (float[1,4] x, bool[n] cond) => (float[1,4] y) {
            y = If <
                then_branch = a () => (float[1,4] t) { t = Neg (x) },
                else_branch = b () => (float[1,4] t) { t = Relu (x) }
            > (cond)
        }"""
    )
    engine = engine_of(source)
    feeds = feeds_of(engine, np.ones((1, 4), np.float32), np.array([True, False]))
    with pytest.raises(PreconditionError, match="'cond', which decides an If, has 2 elements on this input"):
        asked(engine, feeds, ProjectionRequest("y", channels=(0,), policy=Policy.GRADIENT))


def test_captures_of_all_branches_share_one_budget() -> None:
    engine = engine_of(by_the_picture(), EngineSettings(device="cpu", threads=1, capture_bytes=20_000))
    for i in range(8):
        x = (X if i % 2 else -X) * (1 + i)
        asked(engine, feeds_of(engine, x), ProjectionRequest("y", top=1, policy=Policy.GRADIENT))
    assert 0 < engine._captures.nbytes <= 20_000
    engine.forget()
    assert engine._captures.nbytes == 0
