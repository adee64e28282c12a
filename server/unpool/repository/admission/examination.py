"""An examination, from the file's first byte to a session; runs in a process that may die of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

import onnx

from unpool.engine.engine import Engine
from unpool.engine.policies import Policy
from unpool.engine.settings import EngineSettings
from unpool.graph import Graph, Model, Way, load
from unpool.graph.errors import ModelError, UnpoolError
from unpool.graph.model import Value
from unpool.graph.stages import stage
from unpool.repository.admission.crossings import crossings
from unpool.repository.admission.limits import Limits
from unpool.repository.admission.parity import as_json, compare
from unpool.repository.admission.screening import check_file, check_inferred, screen
from unpool.repository.admission.trial import attempt
from unpool.repository.target import picture_input

Part: TypeAlias = Mapping[str, object]
_SETTINGS = EngineSettings(device="cpu", threads=1, sessions=2)
_NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate", "not enough memory", "can't allocate memory")


def admit(file: Path, limits: Limits) -> Iterator[Part]:
    """Reads, normalises and opens a model as the server would, and runs it once.

    Gives ``verdict`` and, where it is admitted and that run did not end the process, ``trial``.
    """
    engine, part = _opened(file, limits)
    yield part
    if engine is not None:
        yield _tried(engine, limits)
        engine.close()


def parity(file: Path, limits: Limits) -> Iterator[Part]:
    """Compares torch with ONNX Runtime; gives ``verdict`` and, where it is admitted, ``parity``."""
    engine, part = _opened(file, limits)
    yield part
    if engine is not None:
        yield {"part": "parity", **as_json(compare(engine))}


def report(file: Path, limits: Limits) -> Iterator[Part]:
    """Everything that can be told of a model: ``verdict``, ``trial``, ``report``, ``parity``."""
    engine, part = _opened(file, limits)
    yield part
    if engine is not None:
        yield _tried(engine, limits)
        yield {"part": "report", **_described(engine.model)}
        yield {"part": "parity", **as_json(compare(engine))}


def _opened(file: Path, limits: Limits) -> tuple[Engine | None, Part]:
    try:
        check_file(file, limits)

        def screened(proto: onnx.ModelProto) -> None:
            with stage("screening the file"):
                screen(proto, file.parent, limits)

        model = load(file, screen=screened)
        with stage("opening the model"):
            check_inferred(model.graph, limits)
            engine = Engine(model, _SETTINGS)
            engine.prepare()
            _walk_branches(model, limits)
    except MemoryError:
        return None, _refused("its examination takes more memory than it may", passing=True)
    except UnpoolError as error:
        reason = str(error)
        if any(words in reason for words in _NO_MEMORY):
            return None, _refused("its examination takes more memory than it may", passing=True)
        return None, _refused(reason, node=error.node if isinstance(error, ModelError) else None)
    except Exception:
        # The stages have words for what a broken file makes libraries raise; this stands outside of them.
        return None, _refused("it cannot be read, for a reason that is not foreseen")
    return engine, {"part": "verdict", "admitted": True, "digest": model.digest}


def _walk_branches(model: Model, limits: Limits) -> None:
    """Does with every branch what the server will do once an input takes it; one that cannot be served refuses nothing.

    Raises:
        ModelError: a tensor of a branch that would be absurdly large.
    """
    for way in model.ways:
        if way.model is not None:
            check_inferred(way.model.graph, limits)
            with suppress(ModelError):
                Engine(way.model, _SETTINGS).prepare()


def _tried(engine: Engine, limits: Limits) -> Part:
    return {"part": "trial", "warning": attempt(engine, limits.memory_bytes, _NO_MEMORY)}


def _refused(reason: str, *, node: str | None = None, passing: bool = False) -> Part:
    return {"part": "verdict", "admitted": False, "reason": reason, "node": node, "passing": passing}


def _described(model: Model) -> dict[str, object]:
    graph = model.graph
    target = picture_input(graph, {})
    to = target.name if target is not None else graph.inputs[0]
    branches = [_branch(way, to) for way in model.ways]
    return {
        "ir_version": model.runtime.ir_version,
        "opsets": dict(graph.opsets),
        "producer": " ".join(filter(None, (model.runtime.producer_name, model.runtime.producer_version))),
        "inputs": [_tensor(graph.values[name]) for name in graph.inputs],
        "outputs": [_tensor(graph.values[name]) for name in graph.outputs if name in graph.values],
        "left_out": list(model.left_out),
        "nodes": len(graph.nodes),
        "layers": len(model.layers),
        "batch": graph.batch.value,
        "looked_at": to,
        # With Ifs left to decide, what lies on the way depends on the input: each branch tells of its own.
        "policies": [] if branches else _policies(graph, to),
        "branches": branches,
    }


def _branch(way: Way, to: str) -> dict[str, object]:
    found: dict[str, object] = {"conditions": dict(way.conditions), "reason": way.reason, "first": way.first}
    if way.model is not None:
        graph = way.model.graph
        found |= {"nodes": len(graph.nodes), "layers": len(way.model.layers), "policies": _policies(graph, to)}
    return found


def _policies(graph: Graph, to: str) -> list[dict[str, object]]:
    return [{**asdict(found), "policy": found.policy.value} for found in (crossings(graph, to, p) for p in Policy)]


def _tensor(value: Value) -> dict[str, object]:
    return {
        "name": value.name,
        "dtype": value.dtype,
        "shape": None if value.shape is None else list(value.shape),
        "axes": [str(axis) for axis in value.axes],
    }
