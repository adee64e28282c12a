"""``unpool check``: light to import, so that a thin client can say what is missing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from unpool.service.extra import needing_the_server

if TYPE_CHECKING:
    from unpool.repository import Examination

_Object = Mapping[str, object]


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="The model's file.", exists=True, dir_okay=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Examine a model as a server would before serving it: verdict, what can be projected and how, parity."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with needing_the_server():
        from unpool.repository import Examiner
    examiner = Examiner()
    try:
        # Before this process has threads, the worker is forked from it and costs nothing.
        examiner.start()
        found = examiner.report(file)
    finally:
        examiner.close()
    if as_json:
        typer.echo(json.dumps(_as_object(file, found), ensure_ascii=False))
    else:
        for line in _lines(file, found):
            # Names in a file are anybody's: none of them may speak to the terminal.
            typer.echo("".join(c if c.isprintable() else "?" for c in line))
    raise typer.Exit(0 if found.verdict.admitted else 1)


def _as_object(file: Path, found: Examination) -> dict[str, object]:
    verdict, parity = found.verdict, found.parity
    answer: dict[str, object] = {
        "file": str(file),
        "admitted": verdict.admitted,
        "reason": verdict.reason,
        "node": verdict.node,
        "digest": verdict.digest,
        "warning": verdict.warning,
    }
    if found.report is not None:
        answer |= {name: value for name, value in found.report.items() if name != "part"}
    if parity is not None:
        answer["parity"] = {
            "holds": parity.holds,
            "outputs": [
                # A difference without bound has no number in JSON.
                {
                    "output": o.output,
                    "difference": o.difference if o.difference < float("inf") else None,
                    "tolerance": o.tolerance,
                    "inside": o.inside,
                }
                for o in parity.outputs
            ],
            "extents": {name: list(shape) for name, shape in parity.extents},
            "borrowed": list(parity.borrowed),
            "reason": parity.reason,
        }
    return answer


def _lines(file: Path, found: Examination) -> Iterator[str]:
    if not found.verdict.admitted:
        yield f"refused: {file.name}: {found.verdict.reason}"
        return
    yield f"admitted: {file.name}"
    if found.verdict.warning:
        yield f"  warning: {found.verdict.warning}"
    report = found.report
    if report is None:
        yield "  no report: the examination ended before it"
    else:
        yield from _report_lines(report)
    if found.parity is not None:
        yield f"  parity: {found.parity}"
        for name in found.parity.borrowed:
            yield f"    no forward in torch, taken from ONNX Runtime: {name}"


def _report_lines(report: _Object) -> Iterator[str]:
    opsets = cast("Mapping[str, int]", report["opsets"])
    listed = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in sorted(opsets.items()))
    producer = f", written by {report['producer']}" if report["producer"] else ""
    yield f"  opset {listed}; IR version {report['ir_version']}{producer}"
    for what in ("inputs", "outputs"):
        for tensor in cast("Sequence[_Object]", report[what]):
            yield f"  {what[:-1]} {_tensor(tensor)}"
    for name in cast("Sequence[str]", report["left_out"]):
        yield f"  output '{name}' holds a list, a map or text, and is not offered"
    yield f"  {report['layers']} layers, {report['nodes']} nodes; batch {report['batch']}"
    for policy in cast("Sequence[_Object]", report["policies"]):
        yield from _policy_lines(policy, str(report["looked_at"]))
    # Ifs within branches make many ways, which often differ in nothing that is told here.
    yield from dict.fromkeys(
        line for branch in cast("Sequence[_Object]", report["branches"]) for line in _branch_lines(branch)
    )


def _branch_lines(branch: _Object) -> Iterator[str]:
    conditions = list(cast("Mapping[str, bool]", branch["conditions"]).items())
    first = cast("int", branch["first"])
    where = ", ".join(f"'{name}' is {str(value).lower()}" for name, value in conditions[:first])
    within = f", and {len(conditions) - first} within" if len(conditions) > first else ""
    if branch["reason"]:
        yield f"  where {where}{within}: this branch cannot be served: {branch['reason']}"
        return
    stops = {
        _groups(cast("Sequence[_Object]", policy["stops"]), names=True)
        for policy in cast("Sequence[_Object]", branch["policies"])
    }
    stopped = f"; a signal is stopped by: {', '.join(sorted(stops))}" if any(stops) else ""
    yield f"  where {where}{within}: {branch['layers']} layers, {branch['nodes']} nodes{stopped}"


def _tensor(tensor: _Object) -> str:
    shape = cast("Sequence[object] | None", tensor["shape"])
    axes = cast("Sequence[str]", tensor["axes"])
    extents = "of unknown rank" if shape is None else f"({', '.join('?' if d is None else str(d) for d in shape)})"
    labels = f" = ({', '.join(axes)})" if axes else ""
    return f"'{tensor['name']}': {tensor['dtype'] or 'unknown type'} {extents}{labels}"


def _policy_lines(policy: _Object, looked_at: str) -> Iterator[str]:
    exact, fallback, stops = (cast("Sequence[_Object]", policy[what]) for what in ("exact", "fallback", "stops"))
    count = sum(cast("int", group["count"]) for group in exact)
    nodes = f"{count} node{'' if count == 1 else 's'}"
    yield f"  {policy['policy']}, from the outputs to '{looked_at}': {nodes} exact ({_groups(exact) or 'none'})"
    if fallback:
        yield f"    vector-Jacobian product for want of a rule: {_groups(fallback, names=True)}"
    if stops:
        yield f"    stopped by: {_groups(stops, names=True)}"
    if policy["policy"] == "deconvnet":
        switches = policy["switches"]
        told = f"    {switches} max pool{'' if switches == 1 else 's'} with switches on the way"
        if not switches and not fallback:
            told += ": the deconvnet picture will be the same for every input"
        elif not switches:
            told += ": the deconvnet picture will depend on the input through those products alone"
        yield told


def _groups(groups: Sequence[_Object], *, names: bool = False) -> str:
    found = []
    for group in groups:
        first = cast("Sequence[str]", group["first"])
        count = cast("int", group["count"])
        more = ", ..." if count > len(first) else ""
        found.append(f"{count} {group['kind']}" + (f" [{', '.join(first)}{more}]" if names else ""))
    return ", ".join(found)
