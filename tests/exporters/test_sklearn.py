"""scikit-learn's perceptrons through skl2onnx: labels, maps and text beside the probabilities, a scaler in front."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.engine.support import FORWARD, arrived, close, seed, units_at
from tests.exporters.support import Exported

from unpool.engine import Policy
from unpool.graph import load
from unpool.graph.errors import ModelError

_WORDS = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


@functools.cache
def _fitted(name: str) -> Any:
    x, y = load_digits(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few rounds do not converge
        if name == "regressor":
            network = MLPRegressor(hidden_layer_sizes=(16,), max_iter=20, random_state=0)
            return make_pipeline(StandardScaler(), network).fit(x, y.astype(np.float32))
        if name == "tanh":
            return MLPClassifier((12,), activation="tanh", max_iter=10, random_state=0).fit(x, y)
        targets = {"words": _WORDS[y], "binary": y % 2}.get(name, y)
        return MLPClassifier((32, 16), max_iter=20, random_state=0).fit(x, targets)


@functools.cache
def _exported(name: str) -> Exported:
    x = load_digits().data[:1].astype(np.float32)
    options = None if name in ("regressor", "zipped") else {"zipmap": False}
    return Exported(name, to_onnx(_fitted(name), x, options=options).SerializeToString(), {"X": x})


ASKED = {
    "zipped": ("output_label", "out_activations_result"),
    "classifier": ("label", "probabilities"),
    "words": ("probabilities",),
    "binary": ("label", "probabilities"),
    "tanh": ("label", "probabilities"),
    "regressor": ("variable",),
}
"""The outputs that are offered of each."""


@pytest.fixture(scope="module", params=ASKED)
def exported(request: pytest.FixtureRequest) -> Exported:
    return _exported(request.param)


def _twin(name: str, x: torch.Tensor) -> torch.Tensor:
    """The fitted network in float64, from scikit-learn's own matrices."""
    fitted = _fitted(name)
    if name == "regressor":
        scaler, fitted = fitted[0], fitted[1]
        x = (x - torch.from_numpy(scaler.mean_)) / torch.from_numpy(scaler.scale_)
    hidden = torch.tanh if name == "tanh" else torch.relu
    for i, (w, b) in enumerate(zip(fitted.coefs_, fitted.intercepts_, strict=True)):
        x = x @ torch.from_numpy(np.asarray(w, np.float64)) + torch.from_numpy(np.asarray(b, np.float64))
        x = hidden(x) if i < len(fitted.coefs_) - 1 else x
    if name == "regressor":
        return x
    return torch.cat([1 - torch.sigmoid(x), torch.sigmoid(x)], 1) if name == "binary" else torch.softmax(x, 1)


def test_outputs_of_numbers_are_offered(exported: Exported) -> None:
    model = exported.engine.model
    assert tuple(model.graph.outputs) == ASKED[exported.name]
    assert model.left_out == {"zipped": ("output_probability",), "words": ("label",)}.get(exported.name, ())


def test_numbers_are_scikit_learns(exported: Exported) -> None:
    found = exported.engine.run(exported.feeds)
    fitted, x = _fitted(exported.name), np.asarray(exported.arrays["X"], np.float64)
    scores = fitted.predict(x)[:, None] if exported.name == "regressor" else fitted.predict_proba(x)
    close(found[ASKED[exported.name][-1]], scores, FORWARD)
    if len(ASKED[exported.name]) == 2:
        np.testing.assert_array_equal(found[ASKED[exported.name][0]], fitted.predict(x))


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
def test_every_layer_is_projected(exported: Exported, policy: Policy) -> None:
    exported.check_projections(policy)


def test_gradient_equals_autograd_over_scikit_learns_matrices(exported: Exported) -> None:
    engine, feeds, top = exported.engine, exported.feeds, ASKED[exported.name][-1]
    leaf = torch.from_numpy(exported.arrays["X"]).double().requires_grad_()
    output = _twin(exported.name, leaf)
    route = engine.route([top], ["X"], Policy.GRADIENT)
    capture = engine.captured_for(feeds, route, [top])
    units = units_at(capture.values[top].numpy())
    ours = arrived(engine, route, capture, {top: seed(engine, feeds, top, units, [1.0] * len(units))})
    theirs = [torch.autograd.grad(output[(0, *u)], leaf, retain_graph=True)[0].numpy() for u in units]
    close(ours, np.concatenate(theirs), FORWARD)


def test_a_model_that_gives_no_numbers_is_refused() -> None:
    graph = helper.make_graph(
        [helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]),
         helper.make_node("LabelEncoder", ["i"], ["t"], domain="ai.onnx.ml", keys_int64s=[0], values_strings=["a"])],
        "text",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2]),
         helper.make_tensor_value_info("i", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("t", TensorProto.STRING, [1])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    with pytest.raises(ModelError, match=r"no output is a tensor of numbers \('t' hold"):
        load(model.SerializeToString())
