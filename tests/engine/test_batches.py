"""Batches, open extents, and inputs that are refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests import zoo
from tests.engine.networks import Net
from tests.engine.support import Subject, arrived, close, one_hot, seed, whole
from tests.methods.small import engine_of, feeds_of, rectified
from tests.oracles import deconvnet
from tests.oracles.recording import record

from unpool.engine import Engine, Feeds, Policy
from unpool.graph import BatchSupport
from unpool.graph.errors import InvalidArgumentError


def _picture(seed: int = 0, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(shape or (1, 3, 12, 12)).astype(np.float32)


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
def test_units_of_several_images_walk_together_as_they_do_apart(policy: Policy) -> None:
    engine = engine_of(rectified(("n", 3, 12, 12)))
    pictures = [_picture(0), _picture(1)]
    both = feeds_of(engine, np.concatenate(pictures))
    route = engine.route(["t4"], ["x"], policy)
    joint = engine.captured_for(both, route, also=("t4",))
    units = [(0, 2, 3), (1, 0, 0), (5, 5, 5), (2, 3, 1), (4, 1, 4)]
    images = [0, 1, 1, 0, 1]
    starts = [1.0, 2.0, 1.0, 0.5, 3.0]
    together = arrived(engine, route, joint, {"t4": seed(engine, both, "t4", units, starts)}, images)
    for row, (unit, image, start) in enumerate(zip(units, images, starts, strict=True)):
        feeds = feeds_of(engine, pictures[image])
        capture = engine.captured_for(feeds, route, also=("t4",))
        alone = arrived(engine, route, capture, {"t4": seed(engine, feeds, "t4", [unit], [start])})
        close(together[row : row + 1], alone)
        assert policy is not Policy.DECONVNET or np.abs(alone).max() > 0
    planes = whole(engine, both, "t4", one_hot((2, 6, 6, 6), units, starts))
    close(together, arrived(engine, route, joint, {"t4": planes}, images))


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_two_images_of_a_light_graph_give_what_each_gives_alone(name: str) -> None:
    subject = Subject(name, zoo.path(name), zoo.tensor(name))
    engine = subject.engine
    # The file itself fixes the batch at 1.
    assert engine.model.graph.batch is BatchSupport.SYMBOLIC
    assert engine.proven_batch(subject.feeds)
    pictures = [subject.tensor, zoo.tensor(name, "coffee")]
    joint = engine.run(feeds_of(engine, np.concatenate(pictures)))
    for i, picture in enumerate(pictures):
        for output, value in record_outputs(subject, picture).items():
            close(joint[output][i : i + 1], value, relative=1e-4)
    subject.close()


def record_outputs(
    subject: Subject, picture: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """What ONNX Runtime gives for the file as it is."""
    found = record(subject.recording.model, {subject.recording.input: picture})
    return {o.name: found.values[o.name].astype(np.float64) for o in found.model.graph.output}


def test_a_model_that_mixes_the_images_of_a_batch_is_not_proven() -> None:
    net = Net(np.random.default_rng(0), (3, 12, 12))
    net.add("Conv", ["x", net.normal(4, 3, 3, 3)])
    convolved = net.current
    net.add("ReduceMean", [convolved], axes=[0], keepdims=1)
    net.add("Sub", [convolved, net.current])
    engine = engine_of(net.model(("n", 3, 12, 12)))
    assert not engine.proven_batch(feeds_of(engine, _picture()))


def test_a_plain_network_is_proven() -> None:
    engine = engine_of(rectified(("n", 3, 12, 12)))
    assert engine.proven_batch(feeds_of(engine, _picture()))


@pytest.mark.parametrize("size", [(12, 12), (20, 9), (33, 40)])
def test_open_height_and_width_are_bound_by_the_input(size: tuple[int, int]) -> None:
    source = rectified(("n", 3, "height", "width"))
    x = _picture(0, 1, 3, *size)
    subject = Subject("open", source, x)
    engine, feeds = subject.engine, subject.feeds
    for name in ("t0", "t2", "t4"):
        assert engine.geometry(feeds).shapes[name] == subject.recording.values[name].shape
    shape = engine.geometry(feeds).shapes["t4"]
    route = engine.route(["t4"], ["x"], Policy.GUIDED)
    capture = subject.capture(route)
    units, starts = [(0, 0, 0), (3, shape[2] - 1, shape[3] - 1)], [1.0, 1.0]
    ours = arrived(engine, route, capture, {"t4": seed(engine, feeds, "t4", units, starts)})
    close(ours, deconvnet.reverse(subject.recording, "t4", one_hot(shape, units, starts), "guided"))


def test_a_fully_convolutional_model_of_the_world_binds_to_any_size() -> None:
    subject = Subject("ppocr_det", zoo.path("ppocr_det"), zoo.tensor("ppocr_det")[:, :, :96, :160])
    engine, feeds = subject.engine, subject.feeds
    geometry = engine.geometry(feeds)
    for name in (subject.layer(f).name for f in (0.1, 0.4, 0.7, 1.0)):
        assert geometry.shapes[name] == engine.run(feeds, [name])[name].shape
    subject.close()


@pytest.fixture(scope="module")
def engine() -> Engine:
    return engine_of(rectified())


def test_an_input_of_the_right_kind_is_taken(engine: Engine) -> None:
    engine.check(feeds_of(engine, _picture()))


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((1, 3, 12, 12), np.float64), "takes float32, not float64"),
        (np.zeros((1, 3, 12, 12), np.uint8), "takes float32, not uint8"),
        (np.zeros((1, 3, 12, 13), np.float32), r"not \(1, 3, 12, 13\)"),
        (np.zeros((3, 12, 12), np.float32), r"not \(3, 12, 12\)"),
        (np.zeros((0, 3, 12, 12), np.float32), r"not \(0, 3, 12, 12\)"),
        (np.full((1, 3, 12, 12), np.nan, np.float32), "NaN or infinity"),
        (np.full((1, 3, 12, 12), -np.inf, np.float32), "NaN or infinity"),
    ],
)
def test_an_input_of_the_wrong_kind_is_refused(
    engine: Engine, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], says: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=says) as refused:
        engine.check(feeds_of(engine, array))
    assert refused.value.field == "tensor"


@pytest.mark.parametrize(
    ("names", "of", "field"), [((), "x", "inputs"), (("x", "y"), "x", "inputs"), (("x",), "y", "of")]
)
def test_missing_and_unknown_inputs_are_refused(engine: Engine, names: tuple[str, ...], of: str, field: str) -> None:
    with pytest.raises(InvalidArgumentError, match="x") as refused:
        engine.check(Feeds(dict.fromkeys(names, _picture()), of))
    assert refused.value.field == field


def test_a_model_of_two_inputs_is_looked_at_through_either() -> None:
    add = helper.make_node("Add", ["a", "b"], ["sum"])
    relu = helper.make_node("Relu", ["sum"], ["y"])
    shape = [1, 2, 3, 3]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "aby"]
    graph = helper.make_graph([add, relu], "two", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    engine = engine_of(model.SerializeToString())
    arrays = {"a": _picture(0, *shape), "b": _picture(1, *shape)}
    for of in "ab":
        feeds = Feeds(arrays, of)
        engine.check(feeds)
        np.testing.assert_allclose(engine.run(feeds)["y"], np.maximum(arrays["a"] + arrays["b"], 0), rtol=1e-6)
