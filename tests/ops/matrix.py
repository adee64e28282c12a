"""One case of the matrix: its forward beside the expected outputs, its backward beside differences in float64."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from tests.oracles.crossing import BoxCrossing
from tests.oracles.node_cases import ModelCase, NodeCase, array, node_case, tensor
from torch import Tensor

from unpool.engine.executor import Executor, forward
from unpool.engine.plan import Plan
from unpool.engine.weights import Weights
from unpool.graph import OTHER, Node, load
from unpool.ops import Operand, backward, run
from unpool.ops.switches import codes_from_input, pool_geometry

STEP = 1e-6
DIRECTIONS = 2

STRAIGHT_THROUGH = frozenset(
    {
        "QuantizeLinear",
        "DynamicQuantizeLinear",
        "DequantizeLinear",
        "QLinearConv",
        "QLinearMatMul",
        "ConvInteger",
        "MatMulInteger",
        "Cast",
        "CastLike",
    }
)
"""What rounds: differences see the steps, and the backward is held to its definition elsewhere."""


def forward_failure(case: ModelCase) -> str | None:
    """What is wrong with the forward of a case; ``None`` where every output is as expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            single = node_case(case)
            found = _node(single) if single is not None else _model(case)
        except Exception as error:  # whatever it is, the table has to name it
            return f"{type(error).__name__}: {error}"
    expected = single.outputs if single is not None else case.outputs
    for i, (theirs, ours) in enumerate(zip(expected, found, strict=False)):
        if theirs is None:
            continue
        if wrong := _difference(np.asarray(theirs), ours, case):
            return f"output {i}: {wrong}"
    return None


def _node(case: NodeCase) -> list[np.ndarray | None]:
    return [array(y) for y in run(case.node, [tensor(x) if x is not None else None for x in case.inputs])]


def _model(case: ModelCase) -> list[np.ndarray]:
    model = load(case.model.SerializeToString())
    names = [o.name for o in case.model.graph.output]
    constants = {n for n in names if n in model.graph.constants}
    executor = Executor(model.graph, Weights(model.graph, torch.device("cpu")), Plan(frozenset(names) - constants))
    given = {i.name: tensor(np.asarray(x)) for i, x in zip(case.model.graph.input, case.inputs, strict=True) if i.name}
    found = forward(executor, given)
    return [np.asarray(model.graph.constants[n].numpy()) if n in constants else array(found[n]) for n in names]


def _difference(expected: np.ndarray, found: np.ndarray, case: ModelCase) -> str | None:
    if expected.shape != found.shape:
        return f"shape {found.shape} instead of {expected.shape}"
    kind = expected.dtype.name
    # Integers below a byte are kept as bytes.
    if {"int4": "int8", "int2": "int8", "uint4": "uint8", "uint2": "uint8"}.get(kind, kind) != found.dtype.name:
        return f"type {found.dtype.name} instead of {kind}"
    with np.errstate(invalid="ignore"):
        a, b = (x.astype(np.float64) if x.dtype.kind not in "biuc" else x for x in (found, expected))
    # Types of half the width are right to two units of their last place: sums are not rounded in one order.
    rtol = {"bfloat16": 2.0**-6, "float16": 2.0**-9}.get(kind, case.rtol)
    try:
        np.testing.assert_allclose(a, b, rtol=max(rtol, case.rtol), atol=case.atol)
    except AssertionError as error:
        return " ".join(str(error).split())[:200]
    return None


def _moving(inputs: Sequence[Tensor | None]) -> list[int]:
    return [i for i, x in enumerate(inputs) if x is not None and x.is_floating_point() and x.numel()]


def differentiable(case: ModelCase) -> bool:
    """Whether a backward can be held to differences: one node, real numbers in and out, nothing rounded."""
    single = node_case(case)
    if single is None or single.node.op_type in STRAIGHT_THROUGH:
        return False
    # Where infinity goes in there are no differences; an attention mask forbids by it.
    finite = (np.isfinite(x.astype(np.float64)).all() for x in single.inputs if x is not None and _is_float(x))
    if single.node.op_type != "Attention" and not all(finite):
        return False
    floats = [o is not None and _is_float(o) and o.size for o in single.outputs]
    return any(x is not None and _is_float(x) and x.size for x in single.inputs) and any(floats)


def _is_float(x: np.ndarray) -> bool:
    return x.dtype.name in ("float16", "float32", "float64", "bfloat16")


def backward_failure(case: ModelCase) -> str | None:
    """What is wrong with the backward of a case; ``None`` where it is the derivative for each input, and for all."""
    single = node_case(case)
    assert single is not None
    rng = np.random.default_rng(0)
    inputs = [
        None if x is None else _moved(x, rng) if _depends_smoothly(single.node, i) else tensor(x)
        for i, x in enumerate(single.inputs)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            moving = [i for i in _moving(inputs) if _depends_smoothly(single.node, i)]
            for chosen in [[i] for i in moving] + ([moving] if len(moving) > 1 else []):
                if wrong := against_differences(single.node, inputs, chosen, rng):
                    return f"inputs {chosen}: {wrong}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return None


def _depends_smoothly(node: Node, index: int) -> bool:
    """Bounds, ratios, repetitions and the like are floats in the file, but no signal goes there."""
    first_only = {"Resize", "Upsample", "Dropout", "Pad"}
    return not (node.op_type in first_only and index > 0) and node.op_type != "Range"


def _moved(x: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Float64, a little aside: the cases love ties and zeros, where there is no derivative."""
    if not _is_float(x):
        return tensor(x)
    wide = x.astype(np.float64)
    aside = 0.001 + 0.002 * rng.random(x.shape)
    moved = wide * (1 - aside) + np.where(wide == 0, aside, 0)
    return torch.from_numpy(np.where(np.isfinite(wide), moved, wide).reshape(x.shape))


def against_differences(
    node: Node, inputs: list[Tensor | None], moving: list[int], rng: np.random.Generator
) -> str | None:
    results = run(node, inputs)
    seeds = [
        torch.from_numpy(np.asarray(rng.normal(size=tuple(y.shape)))) * y.isfinite() if y.is_floating_point() else None
        for y in results
    ]
    seeds += [None] * (len(node.outputs) - len(seeds))
    constants = {i: x for i, x in enumerate(inputs) if x is not None and i not in moving}
    rule = backward(node, tuple(x is None or i in constants for i, x in enumerate(inputs)))
    assert rule is not None
    codes = None
    if rule.switches:
        assert inputs[0] is not None
        codes = codes_from_input(inputs[0], pool_geometry(node, inputs[0].shape[2:]))
    at = BoxCrossing(
        node,
        [None if x is None else _operand(x, constant=i in constants) for i, x in enumerate(inputs)],
        [_operand(y) for y in results],
        constants,
        {},
        {},
        values={i: x for i, x in enumerate(inputs) if x is not None},
        results=dict(enumerate(results)),
        codes=codes,
    )
    back = rule.apply(at, tuple(seeds))
    for _ in range(DIRECTIONS):
        directions = {i: torch.from_numpy(np.asarray(rng.normal(size=tuple(inputs[i].shape)))) for i in moving}
        ends = []
        for sign in (1, -1):
            shifted = [
                x + sign * STEP * directions[i] if i in directions and x is not None else x
                for i, x in enumerate(inputs)
            ]
            ends.append(run(node, shifted))
        expected, scale = 0.0, 1.0
        for seed, up, down in zip(seeds, *ends, strict=False):
            if seed is None:
                continue
            slope = ((up - down) / (2 * STEP) * seed).nan_to_num(0.0, 0.0, 0.0)
            expected += float(slope.sum())
            scale += float(slope.abs().sum())
        found = sum(
            float((back[i] * d).nan_to_num(0.0, 0.0, 0.0).sum()) for i, d in directions.items() if back[i] is not None
        )
        if not math.isclose(found, expected, rel_tol=1e-4, abs_tol=1e-5 * scale):
            return f"{found:.6g} along a direction, differences give {expected:.6g}"
    return None


def _operand(x: Tensor, *, constant: bool = False) -> Operand:
    value = x.numpy() if constant and x.numel() <= 64 else None
    return Operand(tuple(x.shape), (OTHER,) * x.ndim, value)
