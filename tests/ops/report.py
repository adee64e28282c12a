"""``python -m tests.ops.report [FILE]``: runs the matrix and writes ``docs/operators.md``."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from tests.ops.failures import CASES, REFUSED
from tests.ops.matrix import STRAIGHT_THROUGH, backward_failure, differentiable, forward_failure
from tests.oracles.node_cases import ModelCase, model_cases

from unpool.ops import Operator, registered

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"

_WINDOWS = {
    "pointwise": "pointwise",
    "elementwise": "pointwise, broadcast",
    "whole": "whole plane",
    "conv_window": "sliding",
    "_fused_conv_window": "sliding",
    "pool_window": "sliding",
    "conv_transpose_window": "transposed",
    "resize_window": "resampled",
    "concat_window": "shifted",
    "_concat_window": "pointwise",
    "slice_window": "shifted, strided",
    "pad_window": "shifted, folded at borders",
    "gather_window": "pointwise off its axis",
    "matmul_window": "pointwise off the summed axis",
    "_along_constant_axis": "pointwise off its axis",
    "_batch_normalization_window": "pointwise",
    "window": "pointwise off its axes",
    "_window": "pointwise",
    "<lambda>": "blocks",
}


def window_of(operator: Operator) -> str:
    """The operator's window, in words."""
    name = getattr(operator.window, "__name__", "")
    if name == "found":  # operands among scales and zero points
        inner = {"QLinearConv": "sliding", "QLinearMatMul": "pointwise off the summed axis"}
        return inner.get(operator.op_type, "pointwise, broadcast")
    return _WINDOWS[name]


def _gives_real_numbers(operator: Operator) -> bool:
    """Whether an output may hold real numbers, or whole ones that stand for them."""
    if operator.domain or backward_is_straight(operator) or not onnx.defs.has(operator.op_type):
        return True
    schema = onnx.defs.get_schema(operator.op_type)
    allowed = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    first = schema.outputs[0].type_str
    return "tensor(float)" in allowed.get(first, {first})


def backward_is_straight(operator: Operator) -> bool:
    """Whether a signal goes straight through what the operator rounds."""
    rounds = operator.op_type in STRAIGHT_THROUGH - {"Cast", "CastLike"} or operator.op_type.startswith("QLinear")
    return rounds or operator.op_type in {"QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}


def backward_of(operator: Operator) -> str:
    """How a signal crosses it, in words."""
    rule = operator.adjoint
    if not _gives_real_numbers(operator):
        return "none: no real numbers leave it"
    if backward_is_straight(operator):
        return "straight through"
    if rule is None or not rule.exact:
        return "vector-Jacobian product"
    return "adjoint from the forward" if type(rule.apply).__name__ == "_AtZero" else "adjoint by hand"


@dataclass
class Tally:
    """How many cases of one operator were tried and passed."""

    forward: list[bool] = field(default_factory=list)
    backward: list[bool] = field(default_factory=list)

    @staticmethod
    def shown(found: Sequence[bool]) -> str:
        return f"{sum(found)} of {len(found)}" if found else ""


def _belongs_to(cases: Sequence[ModelCase]) -> dict[str, tuple[str, str]]:
    """Case -> operator: an expanded case belongs to the operator that it is the expansion of."""
    single = {c.name: c.operator for c in cases if c.single}
    found = {}
    for case in cases:
        base = re.sub(r"_expanded.*$", "", case.name)
        found[case.name] = single.get(base, case.operator)
    return found


def identity(operators: Sequence[Operator]) -> str:
    """The columns of a row that the registry decides."""
    newest = operators[-1]
    name = f"{newest.domain}.{newest.op_type}" if newest.domain else newest.op_type
    revisions = ", ".join(str(o.since) for o in operators)
    return f"| {name} | {revisions} | {backward_of(newest)} | {window_of(newest)} |"


def families() -> dict[tuple[str, str], list[Operator]]:
    """Domain and type -> its revisions."""
    found: dict[tuple[str, str], list[Operator]] = defaultdict(list)
    for operator in registered():
        found[operator.domain, operator.op_type].append(operator)
    return dict(found)


def render(tallies: Mapping[tuple[str, str], Tally], failures: Mapping[str, str]) -> str:
    """The page."""
    forward = [ok for t in tallies.values() for ok in t.forward]
    backward = [ok for t in tallies.values() for ok in t.backward]
    known = families()
    ours = [ok for key, t in tallies.items() if key in known for ok in t.forward]
    schemas = {s.name for s in onnx.defs.get_all_schemas() if not s.domain and not s.deprecated}
    lines = [
        "# Operators",
        "",
        "What a signal can cross, and how that is known. `make operators` runs the matrix and writes this page.",
        "",
        f"The matrix is the {len(forward)} node cases of onnx {onnx.__version__}, each at its own opset: the forward in"
        f" torch gives the expected outputs in {sum(forward)}, and in {sum(ours)} of the {len(ours)} of operators that"
        f" are known here; in {sum(backward)} of {len(backward)} that are one node of real numbers, the backward rule,"
        " for every input alone and for all together, is the derivative by"
        " differences in float64. An expanded case (a function written out) goes through the loader and the executor."
        " Operators of com.microsoft, and older revisions by one call or a few, are held to ONNX Runtime instead; those"
        " of the domain unpool are norms that files write out and that no operator of a standard computes.",
        "",
        "An operator off the signal's path needs no forward here: its value comes from ONNX Runtime. Every operator"
        " below is known at every opset from 7 on that has it, with all its attributes.",
        "",
        "- *adjoint by hand*: a rule of its own, nothing captured but what it names (switches, signs, shapes).",
        "- *adjoint from the forward*: linear in what carries the signal, so the derivative at zero is the adjoint;"
        " nothing is captured.",
        "- *vector-Jacobian product*: the derivative of the forward at the captured inputs.",
        "- *straight through*: as if nothing had been rounded, with dequantised weights; what fell to the lowest number"
        " gets no signal where that number stands for 0, a rectifier folded into the range.",
        "",
        "| operator | since | backward | window | forward cases | backward cases |",
        "|---|---|---|---|---|---|",
    ]
    for key in sorted(known):
        tally = tallies.get(key, Tally())
        lines.append(f"{identity(known[key])} {Tally.shown(tally.forward)} | {Tally.shown(tally.backward)} |")
    lines += ["", "## Cases that fail", ""]
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, why in failures.items():
        by_reason[why].append(name)
    for why in sorted(by_reason):
        lines.append(f"- {why}: {', '.join(f'`{n}`' for n in sorted(by_reason[why]))}")
    lines += ["", "## Operators of ai.onnx without a forward", ""]
    missing = sorted(schemas - {op_type for domain, op_type in known if not domain})
    lines.append(", ".join(f"{n}" for n in missing) + ".")
    return "\n".join(lines) + "\n"


def _why(name: str, failure: str) -> str:
    if name in CASES:
        return CASES[name]
    found = re.search(r"\b((?:ai\.onnx|com)[\w.]*)\.(\w+)-\d+ has no forward", failure)
    key = ("" if found and found[1] == "ai.onnx" else found[1], found[2]) if found else ("", "")
    return f"{key[1]}: {REFUSED[key]}" if key in REFUSED else f"not explained: {failure}"


def measure() -> tuple[dict[tuple[str, str], Tally], dict[str, str]]:
    """Runs every case."""
    cases = model_cases()
    belongs = _belongs_to(cases)
    tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
    failures: dict[str, str] = {}
    for case in cases:
        tally = tallies[belongs[case.name]]
        failure = forward_failure(case)
        tally.forward.append(failure is None)
        if failure is None and differentiable(case):
            failure = backward_failure(case)
            tally.backward.append(failure is None)
        if failure is not None:
            failures[case.name] = _why(case.name, failure)
    return tallies, failures


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    target.write_text(render(*measure()))
