"""The batch axis is freed: constants that had it written out no longer do."""

from __future__ import annotations

import numpy as np
import pytest
from tests.graph.builders import LIGHT, light, run, text_model, with_random_weights

from unpool.graph import BatchSupport, load


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in ("vgg19", "zfnet512", "bvlc_alexnet") else n for n in LIGHT],
)
def test_batch_of_two_equals_two_runs_of_one_on_light_graphs(name: str) -> None:
    data = with_random_weights(light(name), seed=3)
    model = load(data)
    assert model.graph.batch is BatchSupport.SYMBOLIC
    (entry,) = model.graph.inputs
    assert model.graph.values[entry].shape == ("batch", 3, 224, 224)
    images = np.random.default_rng(1).standard_normal((2, 3, 224, 224), dtype=np.float32)
    (both,) = run(model, {entry: images})
    for i in range(2):
        (alone,) = run(data, {entry: images[i : i + 1]})
        scale = np.abs(alone).max()
        np.testing.assert_allclose(both[i], alone[0], rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize(
    ("shape", "kept"), [((1, 12), (0, 12)), ((1, -1), (0, -1)), ((-1, 12), (-1, 12)), ((1, 3, 4), (0, 3, 4))]
)
def test_reshape_to_a_written_out_batch_is_rewritten(shape: tuple[int, ...], kept: tuple[int, ...]) -> None:
    data = text_model(
        f"""g (float[1,3,2,2] x) => (float[{",".join("abc"[: len(shape)])}] y) {{
            r = Conv(x, w)
            y = Reshape(r, s)
        }}""",
        {"s": np.array(shape, np.int64), "w": np.ones((3, 3, 1, 1), np.float32)},
    )
    model = load(data)
    reshape = next(n for n in model.graph.nodes if n.op_type == "Reshape")
    assert tuple(model.graph.constants[reshape.inputs[1]].numpy()) == kept
    assert run(model, {"x": np.ones((5, 3, 2, 2), np.float32)})[0].shape[0] == 5


def test_batch_moved_by_a_transpose_takes_the_open_extent() -> None:
    data = text_model(
        """g (float[1,6,2,2] x) => (float[a,b,c] y) {
            r = Conv(x, w)
            t = Transpose<perm=[1,0,2,3]>(r)
            y = Reshape(t, s)
        }""",
        {"s": np.array([6, 1, -1], np.int64), "w": np.ones((6, 6, 1, 1), np.float32)},
    )
    model = load(data)
    x = np.random.default_rng(0).standard_normal((3, 6, 2, 2), dtype=np.float32)
    (both,) = run(model, {"x": x})
    assert both.shape == (6, 3, 4)
    np.testing.assert_allclose(both[:, 1:2], run(data, {"x": x[1:2]})[0], rtol=1e-5)


def test_resize_to_written_out_sizes_keeps_every_image() -> None:
    data = text_model(
        """g (float[1,2,3,3] x) => (float[1,2,6,6] y) {
            r = Conv(x, w)
            y = Resize<mode="nearest">(r, , , s)
        }""",
        {"s": np.array([1, 2, 6, 6], np.int64), "w": np.ones((2, 2, 1, 1), np.float32)},
    )
    model = load(data)
    x = np.random.default_rng(0).standard_normal((2, 2, 3, 3), dtype=np.float32)
    (both,) = run(model, {"x": x})
    np.testing.assert_array_equal(both, np.concatenate([run(data, {"x": x[i : i + 1]})[0] for i in range(2)]))


def test_model_that_mixes_its_batch_is_left_as_it_was() -> None:
    data = text_model(
        """g (float[1,2,2,2] x) => (float[8] y) {
            r = Conv(x, w)
            y = Reshape(r, s)
        }""",
        {"s": np.array([8], np.int64), "w": np.ones((2, 2, 1, 1), np.float32)},
    )
    model = load(data)
    assert model.graph.batch is BatchSupport.FIXED
    assert model.graph.values["x"].shape == (1, 2, 2, 2)
    x = np.ones((1, 2, 2, 2), np.float32)
    np.testing.assert_array_equal(run(model, {"x": x})[0], run(data, {"x": x})[0])


@pytest.mark.parametrize("expanded", [False, True])
def test_first_states_of_zeros_written_out_for_one_image_are_left_out(expanded: bool) -> None:
    made = "h = Expand(z, hs)" if expanded else ""
    rng = np.random.default_rng(0)
    data = text_model(
        f"""g (float[1,4,3] x) => (float[a,b,c] y) {{
            {made} t = Transpose<perm=[1,0,2]>(x) s, y = RNN<hidden_size=5>(t, w, r, , , h)
        }}""",
        {
            "w": rng.standard_normal((1, 5, 3)).astype(np.float32),
            "r": rng.standard_normal((1, 5, 5)).astype(np.float32),
            **(
                {"z": np.zeros((1, 1, 5), np.float32), "hs": np.array([1, 1, 5], np.int64)}
                if expanded
                else {"h": np.zeros((1, 1, 5), np.float32)}
            ),
        },
    )
    model = load(data)
    assert model.graph.batch is BatchSupport.SYMBOLIC
    x = rng.standard_normal((3, 4, 3)).astype(np.float32)
    apart = np.concatenate([run(data, {"x": x[i : i + 1]})[0] for i in range(3)], 1)
    np.testing.assert_allclose(run(model, {"x": x})[0], apart, rtol=1e-5, atol=1e-6)


def test_windows_written_out_for_one_image_keep_the_batch_fixed() -> None:
    """The branch of windows would go on with one image, and broadcast it over the others where it is added."""
    data = text_model(
        """g (float[1,2,4,4] x) => (float[a,b,c,d] y) {
            c = Conv(x, w)
            r = Reshape(c, windows)
            t = Transpose<perm=[0,2,4,1,3,5]>(r)
            f = Reshape(t, folded)
            q = Relu(f)
            u = Reshape(q, six)
            v = Transpose<perm=[0,3,1,4,2,5]>(u)
            b = Reshape(v, back)
            y = Add(c, b)
        }""",
        {
            "w": np.ones((2, 2, 1, 1), np.float32),
            "windows": np.array([1, 2, 2, 2, 2, 2], np.int64),
            "folded": np.array([4, 2, 2, 2], np.int64),
            "six": np.array([1, 2, 2, 2, 2, 2], np.int64),
            "back": np.array([1, 2, 4, 4], np.int64),
        },
    )
    model = load(data)
    assert model.graph.batch is BatchSupport.FIXED
    x = np.ones((1, 2, 4, 4), np.float32)
    np.testing.assert_array_equal(run(model, {"x": x})[0], run(data, {"x": x})[0])
