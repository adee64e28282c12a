"""Outputs without a channel axis, and inputs of whole numbers, against autograd over the same network in torch."""

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper as nh
import pytest
import torch
from tests.methods.small import asked, engine_of, feeds_of

from unpool.engine import Policy
from unpool.graph.errors import OutOfRangeError, PreconditionError
from unpool.methods import ProjectionRequest

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(11, 6)).astype(np.float32)
KERNEL = RNG.normal(size=(5, 6, 3)).astype(np.float32)
READOUT = RNG.normal(size=(5,)).astype(np.float32)
TOKENS = np.array([[3, 1, 4, 1, 5, 9, 2, 6]], np.int64)


def network() -> bytes:
    """tokens -> embedding -> convolution -> relu -> (N, L), one number for each token, and (N,), their maximum."""
    nodes = [
        oh.make_node("Gather", ["table", "tokens"], ["embedded"], name="embed"),
        oh.make_node("Transpose", ["embedded"], ["turned"], perm=[0, 2, 1]),
        oh.make_node("Conv", ["turned", "kernel"], ["convolved"], pads=[1, 1]),
        oh.make_node("Relu", ["convolved"], ["rectified"]),
        oh.make_node("Transpose", ["rectified"], ["back"], perm=[0, 2, 1]),
        oh.make_node("MatMul", ["back", "readout"], ["each"]),
        oh.make_node("ReduceMax", ["each", "one"], ["best"], keepdims=0),
    ]
    graph = oh.make_graph(
        nodes,
        "tokens",
        [oh.make_tensor_value_info("tokens", onnx.TensorProto.INT64, ["n", "length"])],
        [oh.make_tensor_value_info("each", 1, ["n", "length"]), oh.make_tensor_value_info("best", 1, ["n"])],
        [
            nh.from_array(TABLE, "table"),
            nh.from_array(KERNEL, "kernel"),
            nh.from_array(READOUT, "readout"),
            nh.from_array(np.array([1]), "one"),
        ],
    )
    return oh.make_model(graph, opset_imports=[oh.make_opsetid("", 18)], ir_version=9).SerializeToString()


def twin(place: int | None) -> tuple[float, np.ndarray]:
    """The number of a token (``None``: the maximum), and its gradient at the embedding (L, 6)."""
    embedded = torch.from_numpy(TABLE[TOKENS]).requires_grad_()
    rows = torch.relu(torch.nn.functional.conv1d(embedded.mT, torch.from_numpy(KERNEL), padding=1)).mT
    each = rows @ torch.from_numpy(READOUT)
    value = each.max() if place is None else each[0, place]
    value.backward()
    assert embedded.grad is not None
    return value.item(), embedded.grad[0].numpy()


def test_a_tensor_of_whole_numbers_is_looked_at_through_what_embeds_it() -> None:
    engine = engine_of(network())
    feeds = feeds_of(engine, TOKENS)
    with pytest.raises(PreconditionError, match=r"int64.*'to': 'embedded'$"):
        asked(engine, feeds, ProjectionRequest("best", top=1))
    header, (found,) = asked(engine, feeds, ProjectionRequest("best", top=1, policy=Policy.GRADIENT, to="embedded"))
    value, gradient = twin(None)
    assert (found.channel, found.position) == (0, ())
    assert found.activation == pytest.approx(value, rel=1e-5)
    assert header.shape == (1,)
    np.testing.assert_allclose(np.squeeze(found.signal).reshape(-1), _like(found.signal, gradient), atol=1e-6)


@pytest.mark.parametrize("place", [0, 3, 7])
def test_an_output_without_channels_counts_as_one(place: int) -> None:
    engine = engine_of(network())
    request = ProjectionRequest("each", (0,), positions=((place,),), policy=Policy.GRADIENT, to="embedded")
    _, (found,) = asked(engine, feeds_of(engine, TOKENS), request)
    value, gradient = twin(place)
    assert found.activation == pytest.approx(value, rel=1e-5)
    assert found.position == (place,)
    full = np.zeros_like(gradient)
    lower, upper = (found.lower, found.upper) if found.lower else ((0,), (len(gradient),))
    part = found.signal.reshape(-1, upper[0] - lower[0]).T if found.signal.shape[0] == 6 else found.signal[0]
    full[lower[0] : upper[0]] = part
    np.testing.assert_allclose(full, gradient, atol=1e-6)


def test_there_is_no_second_channel() -> None:
    engine = engine_of(network())
    with pytest.raises(OutOfRangeError, match="0 to 0"):
        asked(engine, feeds_of(engine, TOKENS), ProjectionRequest("best", (1,), to="embedded"))


def _like(signal: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """A gradient (L, 6) in the order of a signal's elements: channels first where it has channels."""
    return (gradient.T if signal.shape[0] == gradient.shape[1] else gradient).reshape(-1)
