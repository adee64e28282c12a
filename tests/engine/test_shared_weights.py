"""Sessions that are given their weights by reference run what a bare session of the file does."""

import numpy as np
import onnxruntime as ort
import pytest
from tests import zoo

from unpool.engine import Engine, EngineSettings
from unpool.engine.feeds import Feeds
from unpool.graph import load


@pytest.mark.parametrize("name", ["basic_pitch", "crepe_tiny", "alexnet", "imagenet_vgg16", "shufflenet"])
def test_a_session_with_shared_weights_equals_a_bare_one(name: str) -> None:
    """ONNX Runtime transposes some weights in place (Basic Pitch's), and then must not be given the file's instead."""
    path = zoo.path(name)
    engine = Engine(load(path), EngineSettings(device="cpu", threads=1))
    (source,) = engine.model.graph.inputs
    array = zoo.tensor(name)
    found = engine.run(Feeds({source: array}, source))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for output, expected in zip(names, session.run(names, {source: array}), strict=True):
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(found[output], expected, rtol=0, atol=1e-4 * scale)
