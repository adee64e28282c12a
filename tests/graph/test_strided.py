"""`as_strided` as torch's exporter writes it: a Gather of everything in order is a Reshape, any other stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from tests.graph.builders import labels, run, text_model

from unpool.graph import Model, load

_FREE = """
    agraph (float[N, 3, H, W] x) => (float[N, 5] y) {
        c = Transpose <perm = [0, 2, 3, 1]> (x)
        d = MatMul (c, w)
        e = Transpose <perm = [0, 3, 1, 2]> (d)
        m = ReduceMean <axes = [2, 3], keepdims = 1> (e)
        f = Reshape (m, flat)
        s = Shape <start = 0, end = 1> (x)
        n = Squeeze (s)
        r = Range (zero, n, one)
        k = Mul (r, step)
        u = Unsqueeze (k, behind)
        a = Add (u, places)
        i = Add (a, nought)
        v = Gather <axis = 0> (f, i)
        z = Reshape (v, sizes)
        y = Gemm (z, head)
    }"""
_FIXED = """
    agraph (float[1, 3, 6, 5] x) => (float[1, 5] y) {
        e = Conv (x, filters)
        m = ReduceMean <axes = [2, 3], keepdims = 1> (e)
        f = Reshape (m, flat)
        v = Gather <axis = 0> (f, places)
        z = Flatten (v)
        y = Gemm (z, head)
    }"""


def _weights(places: npt.NDArray[np.int64], step: int = 4) -> dict[str, npt.NDArray[np.generic]]:
    rng = np.random.default_rng(0)
    whole = {"zero": 0, "one": 1, "step": step}
    return {name: np.array(value, np.int64) for name, value in whole.items()} | {
        "w": rng.standard_normal((3, 4)).astype(np.float32),
        "filters": rng.standard_normal((4, 3, 1, 1)).astype(np.float32),
        "head": rng.standard_normal((4, 5)).astype(np.float32),
        "flat": np.array([-1]),
        "behind": np.array([1, 2, 3]),
        "nought": np.zeros((1, 1, 1, 1), np.int64),
        "sizes": np.array([-1, 4]),
        "places": places.reshape(1, 4, 1, 1),
    }


def _loaded(graph: str, **settings: object) -> tuple[Model, bytes]:
    settings = {"places": np.arange(4)} | settings
    file = text_model(graph, _weights(**settings))  # type: ignore[arg-type]
    return load(file), file


def _kinds(model: Model) -> set[str]:
    return {node.op_type for node in model.graph.nodes}


def test_places_counted_from_the_batch_keep_batch_and_channels() -> None:
    model, file = _loaded(_FREE)
    assert "v" in model.graph.values, "the name survives"
    assert not _kinds(model) & {"Gather", "Range", "Unsqueeze"}
    assert labels(model, "v").startswith("b c ")
    assert labels(model, "y") == "b c"
    x = np.random.default_rng(1).standard_normal((3, 3, 6, 5)).astype(np.float32)
    np.testing.assert_allclose(run(model, {"x": x})[0], run(file, {"x": x})[0], rtol=1e-5, atol=1e-6)


def test_fixed_places_do_not_fix_the_batch() -> None:
    model, file = _loaded(_FIXED)
    assert "Gather" not in _kinds(model)
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 5)).astype(np.float32)
    each = np.concatenate([run(file, {"x": image[np.newaxis]})[0] for image in x])
    np.testing.assert_allclose(run(model, {"x": x})[0], each, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("graph", "settings"),
    [
        (_FREE, {"places": np.array([0, 2, 1, 3])}),
        (_FREE, {"step": 2}),
        (_FREE.replace("Shape <start = 0, end = 1>", "Shape <start = 2, end = 3>"), {}),
        (_FREE.replace("Range (zero, n, one)", "Range (zero, one, one)").replace("[N, 5]", "[M, 5]"), {}),
        (_FIXED, {"places": np.array([3, 2, 1, 0])}),
    ],
    ids=["other order", "rows overlap", "as many as rows", "the first image alone", "fixed, other order"],
)
def test_any_other_view_stays_as_it_is(graph: str, settings: dict[str, object]) -> None:
    model, file = _loaded(graph, **settings)
    assert "Gather" in _kinds(model)
    x = np.random.default_rng(1).standard_normal((1 if graph is _FIXED else 7, 3, 6, 5)).astype(np.float32)
    np.testing.assert_allclose(run(model, {"x": x})[0], run(file, {"x": x})[0], rtol=1e-5, atol=1e-6)
