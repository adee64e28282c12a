"""Rules of activations, and the vector-Jacobian product, against derivatives written out or by differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.oracles.crossing import BoxCrossing, carry, constant_operand, operand
from torch import Tensor

from unpool.graph.model import HOUSE, Attribute, Node
from unpool.ops import GUIDED, MASKED, PASS, REAPPLY, RECTIFY, Rule, backward, find, guided, run

SHAPE = (1, 3, 4, 5)


def crossing(node: Node, inputs: list[Tensor | None], *, inner: bool = False) -> BoxCrossing:
    """A crossing by two units, on planes or on boxes over the border; inputs of four axes carry signals."""
    moving = [i for i, x in enumerate(inputs) if x is not None and x.ndim == 4]
    results = run(node, inputs)
    return BoxCrossing(
        node,
        [None if x is None else operand(x) if i in moving else constant_operand(x) for i, x in enumerate(inputs)],
        [operand(y) for y in results],
        {i: x for i, x in enumerate(inputs) if x is not None and i not in moving and x.ndim < 4},
        {0: [-1, 2], 1: [3, 0]} if inner else {0: [0, 0], 1: [0, 0]},
        {0: 3, 1: 2} if inner else {0: SHAPE[2], 1: SHAPE[3]},
        values={i: x for i, x in enumerate(inputs) if x is not None},
        results=dict(enumerate(results)),
        units=2,
    )


def node(op_type: str, version: int, count: int = 1, domain: str = "", **attributes: Attribute) -> Node:
    return Node("n", domain, op_type, version, tuple(f"x{i}" for i in range(count)), ("y",), attributes)


def randn(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(len(shape)).normal(size=shape))


def signal() -> Tensor:
    return torch.from_numpy(np.random.default_rng(7).normal(size=(2, *SHAPE[1:])))


X = randn(*SHAPE)
SLOPE = randn(3, 1, 1).abs()


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


RECTIFIERS: dict[str, tuple[Node, list[Tensor | None], Tensor]] = {
    "relu": (node("Relu", 14), [X], (X > 0).double()),
    "leaky relu": (node("LeakyRelu", 16, alpha=0.1), [X], torch.where(X > 0, 1.0, number(0.1))),
    "leaky relu that turns over": (node("LeakyRelu", 16, alpha=-0.1), [X], torch.where(X > 0, 1.0, number(-0.1))),
    "prelu": (node("PRelu", 16, 2), [X, SLOPE], torch.where(X > 0, torch.ones(()).double(), SLOPE)),
    "prelu with a slope for every place": (
        node("PRelu", 16, 2),
        [X, randn(3, 4, 5)],
        torch.where(X > 0, torch.ones(()).double(), randn(3, 4, 5)),
    ),
    "thresholded relu": (node("ThresholdedRelu", 10, alpha=0.5), [X], (X > 0.5).double()),
    "thresholded relu below zero": (node("ThresholdedRelu", 10, alpha=-0.5), [X], (X > -0.5).double()),
    "clip by attributes": (node("Clip", 7, min=0.0, max=1.0), [X], ((X > 0) & (X < 1)).double()),
    "clip by inputs": (node("Clip", 13, 3), [X, number(-0.5), number(0.5)], (X.abs() < 0.5).double()),
    "clip from below": (node("Clip", 13, 2), [X, number(0.0)], (X > 0).double()),
}


@pytest.mark.parametrize("inner", [False, True], ids=["planes", "boxes"])
@pytest.mark.parametrize("name", RECTIFIERS)
def test_backward_of_a_rectifier_is_its_derivative(name: str, inner: bool) -> None:
    call, inputs, slope = RECTIFIERS[name]
    at = crossing(call, inputs, inner=inner)
    expected = _only_inside(signal(), at) * slope
    found = carry(at, [_only_inside(signal(), at)])
    assert found[0] is not None
    torch.testing.assert_close(found[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", RECTIFIERS)
def test_guided_passes_what_is_positive_times_the_derivative(name: str) -> None:
    call, inputs, slope = RECTIFIERS[name]
    at = crossing(call, inputs)
    rule = backward(call, (False, True, True)[: len(call.inputs)])
    assert rule is not None
    found = carry(at, [signal()], guided(rule))
    assert found[0] is not None
    torch.testing.assert_close(found[0], signal().clamp(min=0) * slope)


def _only_inside(s: Tensor, at: BoxCrossing) -> Tensor:
    kept = torch.zeros_like(s)
    for u in range(2):
        rows, columns = (slice(max(at.origins[i][u], 0), at.origins[i][u] + at.sizes[i]) for i in (0, 1))
        kept[u, :, rows, columns] = s[u, :, rows, columns]
    return kept


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (PASS, signal()),
        (RECTIFY, signal().clamp(min=0)),
        (MASKED, signal() * (X > 0)),
        (GUIDED, signal().clamp(min=0) * (X > 0)),
    ],
    ids=["pass", "rectify", "masked", "guided"],
)
def test_rule_of_a_rectifier_is_its_definition(rule: Rule, expected: Tensor) -> None:
    found = carry(crossing(node("Relu", 14), [X]), [signal()], rule)
    assert found[0] is not None
    torch.testing.assert_close(found[0], expected)


def test_reapplying_is_the_same_function_of_the_signal() -> None:
    found = carry(crossing(node("PRelu", 16, 2), [X, SLOPE]), [signal()], REAPPLY)
    assert found[0] is not None
    s = signal()
    torch.testing.assert_close(found[0], torch.where(s > 0, s, s * SLOPE))


SMOOTH: dict[str, tuple[Node, list[Tensor | None]]] = {
    "sigmoid": (node("Sigmoid", 13), [X]),
    "tanh": (node("Tanh", 13), [X]),
    "hard swish": (node("HardSwish", 14), [X * 2]),
    "silu": (node("Swish", 24, alpha=1.5), [X]),
    "gelu": (node("Gelu", 20), [X]),
    "gelu by tanh": (node("Gelu", 20, approximate="tanh"), [X]),
    "elu": (node("Elu", 6, alpha=0.5), [X]),
    "selu": (node("Selu", 6), [X]),
    "celu": (node("Celu", 12, alpha=0.5), [X]),
    "softplus": (node("Softplus", 1), [X]),
    "mish": (node("Mish", 18), [X]),
    "erf": (node("Erf", 13), [X]),
    "softmax over channels": (node("Softmax", 13, axis=1), [X]),
    "softmax over a row": (node("Softmax", 13, axis=3), [X]),
    "softmax of old": (node("Softmax", 11, axis=1), [X]),
    "log softmax": (node("LogSoftmax", 13, axis=1), [X]),
    "response normalisation": (node("LRN", 13, size=3, alpha=0.5), [X]),
    "instance normalisation": (node("InstanceNormalization", 22, 3), [X, randn(3), randn(3)]),
    "layer normalisation": (node("LayerNormalization", 17, 2, axis=-1), [X, randn(5)]),
    "group normalisation": (node("GroupNormalization", 21, 3, num_groups=3), [X, randn(3), randn(3)]),
    "one group": (node("GroupNormalization", 21, 3, num_groups=1), [X, randn(3), randn(3)]),
    "gains of groups": (node("GroupNormalization", 18, 3, num_groups=1), [X, randn(1), randn(1)]),
    "root mean square normalisation": (node("RMSNormalization", 23, 2, axis=2), [X, randn(5)]),
    "layer normalisation over channels": (
        node("LayerNormalization", 1, 3, HOUSE, axes=(1,), epsilon=1e-5),
        [X, randn(3, 1, 1), randn(3, 1, 1)],
    ),
    "layer normalisation without weights": (
        node("LayerNormalization", 1, 1, HOUSE, axes=(1, 3), epsilon=1e-5),
        [X],
    ),
    "root mean square normalisation over channels": (
        node("RMSNormalization", 1, 2, HOUSE, axes=(1,), epsilon=1e-5),
        [X, randn(3, 1, 1)],
    ),
    "length": (node("L2Normalization", 1, 1, HOUSE, axes=(1,), epsilon=1e-12, offset=0.1), [X]),
    "length below its bound": (node("L2Normalization", 1, 1, HOUSE, axes=(1,), epsilon=1e3, offset=0.0), [X]),
    "product of two": (node("Mul", 14, 2), [X, randn(1, 3, 1, 1)]),
    "product of two of one shape": (node("Mul", 14, 2), [X, X.flip(2)]),
    "quotient": (node("Div", 14, 2), [X, X.flip(1).abs() + 1]),
    "power": (node("Pow", 15, 2), [X.abs() + 0.5, number(3.0)]),
    "root": (node("Sqrt", 13), [X.abs() + 0.5]),
    "maximum": (node("Max", 13, 2), [X, X.flip(3) + 0.01]),
    "where": (node("Where", 16, 3), [X > 0, X, X.flip(2)]),
    "global maximum": (node("GlobalMaxPool", 1), [X]),
    "p-norm pool": (node("LpPool", 18, kernel_shape=(2, 2), pads=(1, 0, 0, 1)), [X]),
    "2-norm": (node("ReduceL2", 13, axes=(1,)), [X]),
    "log-sum-exp": (node("ReduceLogSumExp", 13, axes=(2,)), [X]),
    "reflected border": (node("Pad", 13, 2, mode="reflect"), [X, torch.tensor([0, 0, 1, 2, 0, 0, 1, 0])]),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_backward_equals_differences(name: str) -> None:
    call, inputs = SMOOTH[name]
    moving = [i for i, x in enumerate(inputs) if x is not None and x.ndim == 4 and x.is_floating_point()]
    at = crossing(call, inputs)
    y = run(call, inputs)[0]
    s = torch.from_numpy(np.random.default_rng(3).normal(size=(2, *y.shape[1:])))
    at.sizes = {i: y.shape[2 + i] for i in (0, 1)}
    found = carry(at, [s])
    step = 1e-6
    for i in moving:
        known, back = inputs[i], found[i]
        assert known is not None
        assert back is not None
        direction = torch.from_numpy(np.random.default_rng(i).normal(size=known.shape))
        shifted = [
            run(call, [x + sign * step * direction if j == i and x is not None else x for j, x in enumerate(inputs)])[0]
            for sign in (1, -1)
        ]
        slope = (shifted[0] - shifted[1]) / (2 * step)
        for u in range(2):
            expected = float((slope[0] * s[u]).sum())
            assert math.isclose(float((back[u] * direction[0]).sum()), expected, rel_tol=1e-5, abs_tol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "sigmoid",
        "product of two",
        "softmax over channels",
        "response normalisation",
        "layer normalisation over channels",
        "root mean square normalisation over channels",
        "length",
        "maximum",
    ],
)
def test_pointwise_product_on_boxes_equals_whole_planes(name: str) -> None:
    call, inputs = SMOOTH[name]
    at = crossing(call, inputs, inner=True)
    s = _only_inside(signal(), at)
    local = carry(at, [s])
    assert at.sizes == {0: 3, 1: 2}
    whole = carry(crossing(call, inputs), [s])
    for a, b in (pair for pair, moves in zip(zip(local, whole, strict=True), at.wanted, strict=True) if moves):
        assert a is not None
        assert b is not None
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_newest_revision_that_the_model_reaches_is_found() -> None:
    assert [find(node("Clip", v)).since for v in (7, 10, 11, 12, 21)] == [6, 6, 11, 12, 13]  # type: ignore[union-attr]
    assert find(node("HardSwish", 13)) is None
