"""The matrix: every node case of the onnx package, forward beside its outputs, backward beside float64 differences."""

from __future__ import annotations

import functools
import inspect
import re
from collections import defaultdict

import onnx
import pytest
from tests.ops.failures import CASES, REFUSED
from tests.ops.matrix import backward_failure, differentiable, forward_failure
from tests.oracles.node_cases import ModelCase, model_cases

from unpool.graph.model import Node
from unpool.ops import find, registered
from unpool.ops.base import Operator

OPERATORS = sorted({s.name for s in onnx.defs.get_all_schemas_with_history()})


@functools.lru_cache(maxsize=1)
def cases() -> dict[str, list[ModelCase]]:
    """Cases by the type of their first node."""
    found: dict[str, list[ModelCase]] = defaultdict(list)
    for case in model_cases():
        found[case.operator[1]].append(case)
    return found


@functools.lru_cache(maxsize=1)
def known() -> frozenset[tuple[str, str]]:
    return frozenset((o.domain, o.op_type) for o in registered())


def refused(message: str) -> tuple[str, str] | None:
    """The operator that a failure is about, where it has no forward."""
    found = re.search(r"\b((?:ai\.onnx|com)[\w.]*)\.(\w+)-\d+ has no forward", message)
    if found is None:
        return None
    return ("" if found[1] == "ai.onnx" else found[1], found[2])


@pytest.mark.parametrize("op_type", OPERATORS)
def test_forward_gives_the_expected_outputs(op_type: str) -> None:
    wrong = {}
    for case in cases()[op_type]:
        failure = forward_failure(case)
        if case.name in CASES:
            assert failure is not None, f"{case.name} passes now: take it out of tests/ops/failures.py"
        elif failure is not None and refused(failure) not in REFUSED:
            wrong[case.name] = failure
    assert not wrong


@pytest.mark.parametrize("op_type", OPERATORS)
def test_backward_is_the_derivative(op_type: str) -> None:
    wrong = {}
    for case in cases()[op_type]:
        if differentiable(case) and case.name not in CASES and case.operator not in REFUSED:
            failure = backward_failure(case)
            if failure is not None:
                wrong[case.name] = failure
    assert not wrong


def test_what_is_refused_has_no_forward() -> None:
    assert not known() & set(REFUSED), "these have a forward now: take them out of tests/ops/failures.py"


def test_every_named_failure_is_a_case() -> None:
    assert set(CASES) <= {c.name for c in model_cases()}


def test_every_operator_of_a_case_is_known_or_refused() -> None:
    named = {c.operator for c in model_cases() if c.name not in CASES}
    assert named <= known() | set(REFUSED)


WITHOUT_CASES = frozenset({"GlobalLpPool", "MaxRoiPool"})
"""Held to ONNX Runtime instead."""


def test_every_operator_of_the_standard_has_a_case() -> None:
    named = {c.operator for c in model_cases()}
    assert {op_type for domain, op_type in known() - named if not domain and onnx.defs.has(op_type)} == WITHOUT_CASES


def _versions(op_type: str) -> list[int]:
    schemas = [s for s in onnx.defs.get_all_schemas_with_history() if s.name == op_type and not s.domain]
    return sorted(s.since_version for s in schemas if not s.deprecated)


def _found(op_type: str, version: int) -> Operator | None:
    return find(Node("n", "", op_type, version, (), ()))


OLDEST = 7


@pytest.mark.parametrize("op_type", sorted({o.op_type for o in registered() if not o.domain}))
def test_every_revision_from_opset_seven_on_has_a_forward_that_knows_its_attributes(op_type: str) -> None:
    """At every opset from 7 on where the standard has the operator, all its attributes are keywords of the forward."""
    versions = _versions(op_type)
    for opset in range(OLDEST, onnx.defs.onnx_opset_version() + 1):
        reached = [v for v in versions if v <= opset]
        if not reached:
            continue
        schema = onnx.defs.get_schema(op_type, opset)
        if schema.deprecated:
            continue
        operator = _found(op_type, opset)
        assert operator is not None, f"{op_type}-{opset} has no forward"
        parameters = inspect.signature(operator.forward).parameters
        keywords = {n for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
        missing = set(schema.attributes) - keywords
        assert not missing, f"{op_type}-{opset}: {missing}"
        positional = [p for p in parameters.values() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        variadic = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters.values())
        assert variadic or len(positional) >= len(schema.inputs), f"{op_type}-{opset} takes fewer inputs"
