"""A real model of a kind that the others are not: a voice detector that is one If, with more within its branches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import torch
from tests.methods.small import SETTINGS, asked

from unpool.converters.packages import package_file
from unpool.engine import Engine, Feeds, Policy
from unpool.graph import load
from unpool.methods import Mode, OcclusionHeader, OcclusionRequest, OcclusionTile, ProjectionRequest, Target, occlude

Array = npt.NDArray[np.generic]


def detector() -> Path:
    return package_file("silero-vad", "silero_vad/data/silero_vad.onnx")


def run(arrays: dict[str, Array]) -> dict[str, Array]:
    """Both outputs, by a plain session."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(detector()), options, providers=["CPUExecutionProvider"])
    return dict(zip(("output", "stateN"), session.run(["output", "stateN"], arrays), strict=True))


def heard(rate: int) -> dict[str, Array]:
    """A noisy chord at one of the rates that the detector takes: without noise, magnitudes of 0 have no derivative."""
    time = np.arange(576 * rate // 16000) / rate
    wave = 0.3 * np.sin(2 * np.pi * 220 * time) + 0.1 * np.sin(2 * np.pi * 700 * time + 1)
    wave += 0.02 * np.random.default_rng(3).normal(size=wave.shape)
    return {
        "input": wave.astype(np.float32)[None],
        "state": np.zeros((2, 1, 128), np.float32),
        "sr": np.array(rate, np.int64),
    }


@pytest.fixture(scope="module")
def silero() -> Engine:
    return Engine(load(detector()), SETTINGS)


@pytest.mark.parametrize("rate", [16000, 8000])
def test_the_branch_of_each_rate_is_run_and_crossed(silero: Engine, rate: int) -> None:
    arrays = heard(rate)
    feeds = Feeds(arrays, "input")
    expected = run(arrays)
    taken = silero.taken(feeds)
    assert "If" not in {node.op_type for node in taken.model.graph.nodes}
    leaf = torch.from_numpy(arrays["input"]).requires_grad_()
    values = {name: torch.from_numpy(array) for name, array in arrays.items()}
    found = taken.executor((), ["output", "stateN"])({**values, "input": leaf})
    for name, value in expected.items():
        given = found[name].detach().numpy()
        np.testing.assert_allclose(given, value, rtol=0, atol=1e-4 * np.abs(value).max())
    _, (projected,) = asked(silero, feeds, ProjectionRequest("output", channels=(0,), policy=Policy.GRADIENT))
    found["output"].sum().backward()
    assert leaf.grad is not None
    wanted = leaf.grad.numpy()
    np.testing.assert_allclose(projected.signal, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("policy", [Policy.DECONVNET, Policy.GUIDED])
def test_layers_at_three_depths_of_the_branch_are_projected(silero: Engine, policy: Policy) -> None:
    feeds = Feeds(heard(16000), "input")
    rectified = [layer.name for layer in silero.taken(feeds).model.layers if layer.op_type == "Relu"]
    for name in (rectified[0], rectified[len(rectified) // 2], rectified[-1]):
        _, found = asked(silero, feeds, ProjectionRequest(name, top=2, policy=policy))
        assert all(np.isfinite(p.signal).all() for p in found)
        assert any(p.signal.any() for p in found)


def test_an_occlusion_equals_whole_runs(silero: Engine) -> None:
    arrays = heard(16000)
    layer = silero.taken(Feeds(arrays, "input"), changing="input").model.graph.values["output"]
    place = [0] * (len(layer.axes) - (layer.batch_axis is not None))
    request = OcclusionRequest((96,), (96,), targets=(Target.element(*place, output="output"),), mode=Mode.BOXES)
    scores = np.full(6, np.nan)
    for item in occlude(silero, Feeds(arrays, "input"), request):
        if isinstance(item, OcclusionTile):
            scores[item.numbers] = item.scores[0]
        else:
            assert item is None or isinstance(item, OcclusionHeader)
    for i, score in enumerate(scores):
        hidden = arrays["input"].copy()
        hidden[:, 96 * i : 96 * i + 96] = 0
        assert score == pytest.approx(run({**arrays, "input": hidden})["output"].item(), rel=1e-4, abs=1e-6)
