"""Real models of kinds that the others are not.

A voice detector that is one If, with more within its branches; and a reader of letters whose recurrent cells are
written out, step by step and both ways, over the columns of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import torch
from tests.methods.small import SETTINGS, asked, occluded

from unpool.converters.packages import package_file
from unpool.engine import Engine, Feeds, Policy
from unpool.graph import load
from unpool.methods import Mode, OcclusionRequest, ProjectionRequest, Target

Array = npt.NDArray[np.generic]


def detector() -> Path:
    return package_file("silero-vad", "silero_vad/data/silero_vad.onnx")


def reader() -> Path:
    return package_file("captcha-whisperer", "captcha_whisperer/models/captcha_crnn.onnx")


def run(
    arrays: dict[str, Array], file: Path | None = None, outputs: Sequence[str] = ("output", "stateN")
) -> dict[str, Array]:
    """The outputs, by a plain session."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(file or detector()), options, providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(list(outputs), arrays), strict=True))


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
    _, scores, _ = occluded(silero, Feeds(arrays, "input"), request)
    assert scores.size == 6
    for i, score in enumerate(scores.ravel()):
        hidden = arrays["input"].copy()
        hidden[:, 96 * i : 96 * i + 96] = 0
        assert score == pytest.approx(run({**arrays, "input": hidden})["output"].item(), rel=1e-4, abs=1e-6)


def written(seed: int = 4) -> dict[str, Array]:
    """Dark strokes on a noisy light ground: float32 (1, 3, 60, 160), in pixel values."""
    rng = np.random.default_rng(seed)
    picture = 200 + 20 * rng.normal(size=(1, 3, 60, 160))
    for left in range(20, 150, 30):
        picture[:, :, 15:45, left : left + 5] -= 150
        picture[:, :, 25:30, left : left + 18] -= 120
    return {"image": picture.clip(0, 255).astype(np.float32)}


@pytest.fixture(scope="module")
def letters() -> Engine:
    return Engine(load(reader()), SETTINGS)


def test_recurrent_cells_written_out_keep_columns_and_letters(letters: Engine) -> None:
    arrays, graph = written(), letters.model.graph
    assert [str(axis) for axis in graph.values["image"].axes] == ["batch", "channel", "spatial0", "spatial1"]
    assert (graph.values["logits"].batch_axis, graph.values["logits"].channel_axis) == (1, 2)
    leaf = torch.from_numpy(arrays["image"]).requires_grad_()
    found = letters.executor((), ["logits"])({"image": leaf})["logits"]
    expected = run(arrays, reader(), ["logits"])["logits"]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    feeds = Feeds(arrays, "image")
    request = ProjectionRequest("logits", channels=(7,), positions=((11,),), policy=Policy.GRADIENT)
    _, (projected,) = asked(letters, feeds, request)
    found[11, 0, 7].backward()
    assert leaf.grad is not None
    wanted = leaf.grad.numpy()[0]
    box = (slice(None), *map(slice, projected.lower, projected.upper))
    np.testing.assert_allclose(projected.signal, wanted[box], rtol=0, atol=1e-4 * np.abs(wanted).max())
    assert np.abs(wanted).sum() == pytest.approx(np.abs(wanted[box]).sum())


@pytest.mark.parametrize("policy", [Policy.DECONVNET, Policy.GUIDED])
def test_layers_of_the_reader_are_projected(letters: Engine, policy: Policy) -> None:
    feeds = Feeds(written(), "image")
    rectified = [layer.name for layer in letters.model.layers if layer.op_type == "Relu"]
    for name in (rectified[0], rectified[-1], "logits"):
        _, found = asked(letters, feeds, ProjectionRequest(name, top=2, policy=policy))
        assert all(np.isfinite(p.signal).all() for p in found)
        assert any(p.signal.any() for p in found)


def test_an_occlusion_of_the_reader_equals_whole_runs(letters: Engine) -> None:
    arrays = written()
    target = Target.element(11, 7, output="logits")
    request = OcclusionRequest((60, 32), (1, 64), targets=(target,), mode=Mode.BOXES)
    _, scores, _ = occluded(letters, Feeds(arrays, "image"), request)
    assert scores.size == 3
    for i, score in enumerate(scores.ravel()):
        hidden = arrays["image"].copy()
        hidden[:, :, :, 64 * i : 64 * i + 32] = 0
        whole = run({"image": hidden}, reader(), ["logits"])["logits"]
        assert score == pytest.approx(whole[11, 0, 7], rel=1e-4, abs=1e-5)
