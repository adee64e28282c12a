"""Old files whose weights are inputs, absent optional inputs, several inputs and outputs: against torch."""

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper
from tests.graph.builders import run, text_model
from tests.methods.small import asked, engine_of, feeds_of, pictured

from unpool.engine import Feeds, Policy
from unpool.graph.errors import InvalidArgumentError, PreconditionError
from unpool.methods import ProjectionRequest, capture

RNG = np.random.default_rng(0)
W = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
V = RNG.normal(size=(4, 3, 1, 1)).astype(np.float32)
X, Z = (RNG.normal(size=(1, 3, 8, 8)).astype(np.float32) for _ in range(2))


def test_weights_of_an_old_file_are_not_asked_for() -> None:
    names = {"x": [1, 3, 8, 8], "w": list(W.shape)}
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4), helper.make_node("Relu", ["c"], ["y"])],
        "old",
        [helper.make_tensor_value_info(name, 1, shape) for name, shape in names.items()],
        [helper.make_tensor_value_info("y", 1, [1, 4, 8, 8])],
        [numpy_helper.from_array(W, "w")],
    )
    old = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=3).SerializeToString()
    engine = engine_of(old)
    assert list(engine.model.graph.inputs) == ["x"]
    header, (found,) = asked(engine, feeds_of(engine, X), ProjectionRequest("y", top=1, policy=Policy.GRADIENT))
    x = torch.from_numpy(X).requires_grad_()
    torch.relu(torch.nn.functional.conv2d(x, torch.from_numpy(W), padding=1))[0, found.channel].max().backward()
    assert x.grad is not None
    np.testing.assert_allclose(pictured(found, header), x.grad[0].numpy(), rtol=1e-5, atol=1e-6)


def test_optional_inputs_and_outputs_may_be_absent() -> None:
    # Clip without its lower bound, Resize without a region, MaxPool and Dropout without their second output.
    source = text_model(
        """agraph (float[1,3,8,8] x) => (float[1,4,8,8] y) {
            c = Conv <pads = [1, 1, 1, 1]> (x, w)
            b = Clip (c, , most)
            p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
            d = Dropout (p)
            y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
                (d, , scales)
        }""",
        {"w": W, "most": np.float32(1.5), "scales": np.array([1, 1, 2, 2], np.float32)},
    )
    engine = engine_of(source)
    (expected,) = run(source, {"x": X})
    (found,) = (a for a in capture(engine, feeds_of(engine, X), ("y",)) if a is not None)
    np.testing.assert_allclose(found.values, expected, rtol=1e-5, atol=1e-6)
    request = ProjectionRequest("y", (2,), positions=((3, 5),), policy=Policy.GRADIENT)
    header, (one,) = asked(engine, feeds_of(engine, X), request)
    x = torch.from_numpy(X).requires_grad_()
    maps = torch.nn.functional.conv2d(x, torch.from_numpy(W), padding=1).clamp(max=1.5)
    torch.nn.functional.max_pool2d(maps, 2)[0, 2, 1, 2].backward()
    assert x.grad is not None
    np.testing.assert_allclose(pictured(one, header), x.grad[0].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("of", ["left", "right"])
@pytest.mark.parametrize("output", ["sum", "alone"])
def test_the_request_says_which_input_is_looked_at(of: str, output: str) -> None:
    source = text_model(
        """agraph (float[1,3,8,8] left, float[1,3,8,8] right) => (float[1,4,8,8] sum, float[1,4,8,8] alone) {
            a = Conv <pads = [1, 1, 1, 1]> (left, w)
            b = Conv (right, v)
            s = Add (a, b)
            sum = Relu (s)
            alone = Relu (b)
        }""",
        {"w": W, "v": V},
    )
    engine = engine_of(source)
    feeds = Feeds({"left": X, "right": Z}, of)
    request = ProjectionRequest(output, top=1, policy=Policy.GRADIENT)
    if (of, output) == ("left", "alone"):
        with pytest.raises(PreconditionError, match="'alone' is not computed from 'left'"):
            asked(engine, feeds, request)
        return
    header, (found,) = asked(engine, feeds, request)
    left, right = (torch.from_numpy(array).requires_grad_() for array in (X, Z))
    alone = torch.nn.functional.conv2d(right, torch.from_numpy(V))
    both = torch.nn.functional.conv2d(left, torch.from_numpy(W), padding=1) + alone
    torch.relu(both if output == "sum" else alone)[0, found.channel].max().backward()
    gradient = (left if of == "left" else right).grad
    assert gradient is not None
    np.testing.assert_allclose(pictured(found, header), gradient[0].numpy(), rtol=1e-5, atol=1e-6)


def test_an_input_that_nothing_feeds_is_named() -> None:
    source = text_model(
        "agraph (float[1,3,8,8] left, float[1,3,8,8] right) => (float[1,3,8,8] y) { y = Add (left, right) }"
    )
    with pytest.raises(InvalidArgumentError, match="right"):
        asked(engine_of(source), Feeds({"left": X}, "left"), ProjectionRequest("y", top=1))


@pytest.mark.parametrize("position", [(0, 0), (4, 9), (3, 5)])
def test_the_signal_of_a_plane_that_the_model_turns_around_stands_as_its_box(position: tuple[int, int]) -> None:
    """A spectrogram of (time, bands) is convolved as (bands, time): box, plane and signal have that order."""
    source = text_model(
        """agraph (float[1,10,5] x) => (float[1,4,5,10] y) {
            turned = Transpose <perm = [0, 2, 1]> (x)
            plane = Unsqueeze (turned, first)
            c = Conv <pads = [1, 1, 1, 1]> (plane, k)
            y = Relu (c)
        }""",
        {"k": W[:, :1], "first": np.array([1])},
    )
    engine = engine_of(source)
    spectrogram = RNG.normal(size=(1, 10, 5)).astype(np.float32)
    request = ProjectionRequest("c", (1,), positions=(position,), policy=Policy.GRADIENT)
    header, (found,) = asked(engine, feeds_of(engine, spectrogram), request)
    x = torch.from_numpy(spectrogram).requires_grad_()
    maps = torch.nn.functional.conv2d(x.transpose(1, 2).unsqueeze(1), torch.from_numpy(W[:, :1]), padding=1)
    maps[(0, 1, *position)].backward()
    assert x.grad is not None
    assert header.plane == (5, 10)
    np.testing.assert_allclose(pictured(found, header)[0], x.grad[0].numpy().T, rtol=1e-5, atol=1e-6)


def test_a_number_without_axes_is_fed_as_one() -> None:
    source = text_model(
        """agraph (float[1,3,8,8] x, int64 rows) => (float[R, 3] y) {
            first = Constant<value = int64[1] {0}>()
            three = Constant<value = int64[1] {3}>()
            pooled = GlobalMaxPool(x)
            flat = Flatten(pooled)
            many = Unsqueeze(rows, first)
            to = Concat<axis = 0>(many, three)
            y = Expand(flat, to)
        }"""
    )
    engine = engine_of(source)
    feeds = Feeds({"x": X, "rows": np.array(2)}, "x")
    np.testing.assert_array_equal(engine.run(feeds)["y"], np.repeat(X.max((2, 3)), 2, 0))
    assert engine.run(feeds, ["rows"])["rows"].shape == ()
