"""Switch codes: from ONNX Runtime's Indices and from the pool's input, in one to three dimensions."""

from __future__ import annotations

import itertools

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from unpool.graph.model import Attribute, Node
from unpool.ops import codes_from_indices, codes_from_input, pool_geometry, run, storage_order
from unpool.ops.pooling import unpool


def pooled(x: np.ndarray, attributes: dict[str, Attribute], version: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Values and Indices by ONNX Runtime."""
    graph = helper.make_graph(
        [helper.make_node("MaxPool", ["x"], ["y", "i"], **attributes)],
        "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("i", TensorProto.INT64, None),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    y, indices = session.run(None, {"x": x})
    return y, indices


def slow_codes(x: np.ndarray, node: Node) -> np.ndarray:
    """The first maximum of every window in row-major order, place by place."""
    known = pool_geometry(node, x.shape[2:])
    codes = np.full((*x.shape[:2], *known.outputs), -1)
    for n, c in itertools.product(range(x.shape[0]), range(x.shape[1])):
        for out in itertools.product(*map(range, known.outputs)):
            best = -np.inf
            for code, place in enumerate(itertools.product(*map(range, known.kernel))):
                at = [
                    o * s - b + p * d
                    for o, s, b, p, d in zip(out, known.strides, known.begins, place, known.dilations, strict=True)
                ]
                if all(0 <= a < e for a, e in zip(at, x.shape[2:], strict=True)) and x[(n, c, *at)] > best:
                    best, codes[(n, c, *out)] = x[(n, c, *at)], code
    return codes


@st.composite
def pools(draw: st.DrawFn) -> tuple[np.ndarray, dict[str, Attribute]]:
    rank = draw(st.integers(1, 3))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    found: dict[str, Attribute] = {
        "kernel_shape": kernel,
        "strides": tuple(draw(st.integers(1, 3)) for _ in range(rank)),
    }
    mode = draw(st.sampled_from(["NOTSET", "pads", "dilations", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if mode == "pads":
        found["pads"] = tuple(draw(st.integers(0, k - 1)) for k in kernel * 2)
    elif mode == "dilations":
        found["dilations"] = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    elif mode != "NOTSET":
        found["auto_pad"] = mode
        # Of strides that skip inputs under SAME, the runtime makes negative paddings, or refuses.
        strides = found["strides"]
        assert isinstance(strides, tuple)
        found["strides"] = tuple(min(int(n), k) for n, k in zip(strides, kernel, strict=True))
    if mode in ("NOTSET", "pads", "dilations"):
        found["ceil_mode"] = draw(st.integers(0, 1))
    if rank > 1 and draw(st.booleans()):
        found["storage_order"] = 1
    extents = [draw(st.integers(1, 7)) for _ in range(rank)]
    dilations = found.get("dilations", (1,) * rank)
    assert isinstance(dilations, tuple)
    pads = found.get("pads", (0,) * (2 * rank))
    assert isinstance(pads, tuple)
    room = [e + int(pads[i]) + int(pads[rank + i]) for i, e in enumerate(extents)]
    if "auto_pad" not in found or mode == "VALID":
        assume(all((k - 1) * int(d) + 1 <= e for k, d, e in zip(kernel, dilations, room, strict=True)))
    # Few values make many ties.
    values = np.random.default_rng(draw(st.integers(0, 9))).integers(-2, 3, (2, 2, *extents)).astype(np.float32)
    return values, found


@settings(max_examples=150, deadline=None)
@given(pools())
def test_codes_of_runtime_indices_and_of_the_input_are_the_first_maximum(
    case: tuple[np.ndarray, dict[str, Attribute]],
) -> None:
    x, attributes = case
    node = Node("n", "", "MaxPool", 12, ("x",), ("y", "i"), attributes)
    expected = slow_codes(x, node)
    assume((expected >= 0).all())  # windows that hold padding only have no maximum
    known = pool_geometry(node, x.shape[2:])
    y, indices = pooled(x, attributes)
    assert known.outputs == y.shape[2:]
    given_ = codes_from_indices(torch.from_numpy(indices), known, x.shape[2:], storage_order=storage_order(node))
    derived = codes_from_input(torch.from_numpy(x), known)
    assert given_.dtype == derived.dtype == torch.uint8
    np.testing.assert_array_equal(derived.numpy(), expected)
    np.testing.assert_array_equal(given_.numpy(), expected)
    values, places = run(node, [torch.from_numpy(x)])
    np.testing.assert_array_equal(values.numpy(), y)
    np.testing.assert_array_equal(places.numpy(), indices)


def test_a_kernel_of_many_places_has_wide_codes() -> None:
    node = Node("n", "", "MaxPool", 12, ("x",), ("y",), {"kernel_shape": (17, 16)})
    x = torch.randn(1, 1, 17, 16)
    codes = codes_from_input(x, pool_geometry(node, (17, 16)))
    assert codes.dtype == torch.int32
    assert int(codes) == int(x.flatten().argmax())


def test_indices_that_point_nowhere_are_refused() -> None:
    node = Node("n", "", "MaxPool", 12, ("x",), ("y",), {"kernel_shape": (2, 2), "strides": (2, 2)})
    with pytest.raises(IndexError):
        codes_from_indices(torch.full((1, 1, 2, 2), 10**6), pool_geometry(node, (4, 4)), (4, 4))


@settings(max_examples=60, deadline=None)
@given(pools())
def test_unpooling_puts_values_at_their_switches_and_adds_overlaps(
    case: tuple[np.ndarray, dict[str, Attribute]],
) -> None:
    x, attributes = case
    node = Node("n", "", "MaxPool", 12, ("x",), ("y", "i"), attributes)
    assume((slow_codes(x, node) >= 0).all())
    known = pool_geometry(node, x.shape[2:])
    y, indices = pooled(x, {k: v for k, v in attributes.items() if k != "storage_order"})
    signal = np.random.default_rng(0).normal(size=y.shape)
    expected = np.zeros(x.size)
    np.add.at(expected, indices.ravel(), signal.ravel())
    codes = codes_from_input(torch.from_numpy(x), known)
    s = torch.from_numpy(signal)
    if s.ndim == 4:
        s = s.contiguous(memory_format=torch.channels_last)
    natural = unpool(s, codes, known)
    if s.ndim == 4:
        assert natural.is_contiguous(memory_format=torch.channels_last)
    inside = [slice(b, b + e) for b, e in zip(known.begins, x.shape[2:], strict=True)]
    found = natural[(slice(None), slice(None), *inside)].numpy()
    wide = np.zeros(x.shape)
    wide[tuple(slice(0, n) for n in found.shape)] = found
    np.testing.assert_allclose(wide.ravel(), expected, atol=1e-12)
    assert np.isclose(natural.sum().item(), signal.sum())
