"""The same answers on a GPU: projections, where captures stand, and no quiet way back to the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import torch
from tests.engine.networks import Net
from tests.methods.small import asked, engine_of, pictured

from unpool.engine import Engine, EngineSettings, Feeds, Policy
from unpool.engine.devices import Device, resolve
from unpool.graph.errors import PreconditionError
from unpool.methods import Positions, ProjectionRequest, capture

_CUDA = torch.cuda.is_available() and "CUDAExecutionProvider" in ort.get_available_providers()
gpu = [pytest.mark.gpu, pytest.mark.skipif(not _CUDA, reason="needs a CUDA device")]


def _on_gpu(name: str) -> object:
    return pytest.param(name, marks=gpu, id=name)


def _network() -> bytes:
    """Every kind of step that makes tensors of its own: pools, norms, joins, masks, gates, layout, indices."""
    net = Net(np.random.default_rng(7), (3, 16, 16))
    net.add("Conv", ["x", net.normal(8, 3, 3, 3), net.normal(8)], pads=[1] * 4)
    net.add("LRN", [net.current], size=3, alpha=0.5, beta=0.75, bias=1.0)
    net.add("Relu", [net.current])
    net.add("MaxPool", [net.current], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    start = net.current
    left = net.add("PRelu", [start, net.normal(8, 1, 1)])
    gate = net.add("Sigmoid", [net.add("Conv", [start, net.normal(8, 8, 1, 1)])])
    right = net.add("Mul", [start, gate])
    mask = net.weight(np.random.default_rng(1).random((1, 8, 1, 1)) > 0.3)
    chosen = net.add("Where", [mask, left, right])
    padded = net.add("Pad", [chosen, net.weight(np.array([0, 0, 1, 0, 0, 0, 0, 1]))])
    net.add("AveragePool", [padded], kernel_shape=[2, 2], strides=[1, 1])
    net.add("Clip", [net.current, net.weight(np.float32(0)), net.weight(np.float32(6))])
    net.add("Gather", [net.current, net.weight(np.array([7, 3, 1, 0, 2, 5]))], axis=1)
    scales = net.weight(np.array([1, 1, 2, 2], np.float32))
    modes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    net.add("Resize", [net.current, "", scales], **modes)
    net.add("Conv", [net.current, net.normal(6, 6, 3, 3)], pads=[1] * 4)
    net.add("Relu", [net.current])
    return net.model((1, 3, 16, 16))


@pytest.fixture(scope="module")
def picture() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module", params=["cpu", _on_gpu("cuda:0")])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    found = engine_of(_network(), EngineSettings(device=request.param, threads=1))
    yield found
    found.close()


@pytest.fixture(scope="module")
def plain(picture: npt.NDArray[np.float32]) -> Iterator[Engine]:
    """The same model on the CPU, by the unoptimised way there is: one unit a walk."""
    found = engine_of(_network(), EngineSettings(device="cpu", threads=1, piece_bytes=1))
    yield found
    found.close()


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("positions", [Positions.MAX, Positions.MAP, ((0, 0), (0, 9), (15, 15), (5, 5))])
def test_projections_are_those_of_the_cpu(
    engine: Engine,
    plain: Engine,
    picture: npt.NDArray[np.float32],
    policy: Policy,
    positions: Positions | tuple[tuple[int, ...], ...],
) -> None:
    layer = engine.model.graph.outputs[0]
    request = ProjectionRequest(layer, channels=tuple(range(6)), positions=positions, policy=policy)
    header, ours = asked(engine, Feeds({"x": picture}, "x"), request)
    expected_header, theirs = asked(plain, Feeds({"x": picture}, "x"), request)
    assert header == expected_header
    for found, expected in zip(ours, theirs, strict=True):
        assert (found.channel, found.position) == (expected.channel, expected.position)
        assert found.activation == pytest.approx(expected.activation, rel=1e-3, abs=1e-5)
        reference = pictured(expected, header)
        scale = float(np.abs(reference).max())
        np.testing.assert_allclose(pictured(found, header), reference, rtol=0, atol=1e-3 * scale)


def test_what_is_captured_stays_on_the_device(engine: Engine, picture: npt.NDArray[np.float32]) -> None:
    layer = engine.model.graph.outputs[0]
    for policy in Policy:
        route = engine.route([layer], ["x"], policy)
        held = engine.captured_for(Feeds({"x": picture}, "x"), route, also=(layer,))
        for group in (held.values, held.masks, held.switches):
            assert {str(t.device) for t in group.values()} <= {engine.device}
        assert set(held.switches) == set(route.switches)


def test_activations_are_those_of_the_cpu(engine: Engine, plain: Engine, picture: npt.NDArray[np.float32]) -> None:
    layers = [layer.name for layer in engine.model.layers]
    feeds = Feeds({"x": picture}, "x")
    ours = {a.name: a.values for a in capture(engine, feeds, layers) if a is not None}
    theirs = {a.name: a.values for a in capture(plain, feeds, layers) if a is not None}
    for name, expected in theirs.items():
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=1e-3 * float(np.abs(expected).max()))


def test_the_torch_executor_gives_what_the_runtime_gives(engine: Engine, picture: npt.NDArray[np.float32]) -> None:
    layer = engine.model.graph.outputs[0]
    expected = engine.run(Feeds({"x": picture}, "x"))[layer]
    found = engine.executor((), [layer])({"x": torch.from_numpy(picture).to(engine.device)})[layer]
    assert str(found.device) == engine.device
    np.testing.assert_allclose(found.numpy(force=True), expected, rtol=0, atol=1e-3 * float(np.abs(expected).max()))


def test_the_second_of_two_inputs_does_not_overwrite_what_the_first_left(
    engine: Engine, picture: npt.NDArray[np.float32]
) -> None:
    layer = engine.model.graph.outputs[0]
    route = engine.route([layer], ["x"], Policy.GRADIENT)
    engine.forget()
    first = engine.captured_for(Feeds({"x": picture}, "x"), route, also=(layer,))
    before = {name: t.clone() for name, t in first.values.items()}
    for n in range(1, 4):
        engine.captured_for(Feeds({"x": picture * n + 1}, "x"), route, also=(layer,))
    for name, expected in before.items():
        assert torch.equal(first.values[name], expected), name


def test_a_session_that_fell_back_to_the_cpu_is_refused() -> None:
    session = ort.InferenceSession(_network(), providers=["CPUExecutionProvider"])
    with pytest.raises(PreconditionError, match="fell back from CUDAExecutionProvider to CPUExecutionProvider"):
        Device(torch.device("cuda", 0), "CUDAExecutionProvider").confirm(session)
    resolve("cpu").confirm(session)


@pytest.mark.skipif(_CUDA, reason="needs a machine without CUDA")
def test_a_gpu_that_is_not_there_is_refused_and_auto_takes_the_cpu() -> None:
    with pytest.raises(PreconditionError, match="device 'cuda:0' cannot be used"):
        resolve("cuda:0")
    assert resolve("auto").name == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not _CUDA, reason="needs a CUDA device")
def test_auto_takes_the_gpu_and_both_runtimes_stand_on_it() -> None:
    engine = engine_of(_network(), EngineSettings(device="auto", threads=1))
    assert engine.device == "cuda:0"
    assert engine.providers[0] == "CUDAExecutionProvider"
    engine.prepare()
    engine.close()


@pytest.mark.gpu
@pytest.mark.skipif(not _CUDA, reason="needs a CUDA device")
def test_a_gpu_beyond_the_last_is_refused() -> None:
    with pytest.raises(PreconditionError, match="does not exist"):
        resolve(f"cuda:{torch.cuda.device_count()}")
