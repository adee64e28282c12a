"""Stages of loading: what nobody foresaw in a file ends in a sentence that says how far it was read, and where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import onnx
import onnx_ir as ir

from unpool.graph.errors import ModelError, UnpoolError
from unpool.graph.model import Node

_NAMES = ("node", "call", "node_proto")
"""What functions call the node that they are at work on, here and in the libraries."""


@contextmanager
def stage(doing: str) -> Iterator[None]:
    """Turns what is raised inside, unless it is an error of the house's own, into one sentence.

    Args:
        doing: what is done with the model, as in "reading it".

    Raises:
        ModelError: says what was done, at which node, and what to do.
    """
    try:
        yield
    except (UnpoolError, MemoryError):
        raise
    except Exception as error:
        # Whatever a broken file makes a library raise concerns this file alone. Its words are for developers, who
        # find them behind this error when they load the file themselves.
        found = _node_at_fault(error)
        where = f" at {found[1]}" if found else ""
        raise ModelError(
            f"{doing} fails{where}, for a reason that is not foreseen; see whether onnx.checker.check_model takes the"
            " file, and export the model anew",
            node=found[0] if found else None,
        ) from error


def described(node: ir.Node) -> str:
    """A node as a message names it."""
    domain = f"{node.domain}." if node.domain else ""
    return f"{domain}{node.op_type} node '{node.name or next((o.name for o in node.outputs if o.name), '')}'"


def _node_at_fault(error: BaseException) -> tuple[str, str] | None:
    """Name and description of the node that the innermost function with one was at work on."""
    found: tuple[str, str] | None = None
    each: BaseException | None = error
    while each is not None:
        trace: TracebackType | None = each.__traceback__
        while trace is not None:
            for name in _NAMES:
                found = _named(trace.tb_frame.f_locals.get(name)) or found
            trace = trace.tb_next
        each = each.__cause__
    return found


def _named(value: object) -> tuple[str, str] | None:
    if isinstance(value, ir.Node):
        return value.name or next((o.name for o in value.outputs if o.name), ""), described(value)
    if isinstance(value, Node):
        return value.name, str(value)
    if isinstance(value, onnx.NodeProto):
        name = value.name or next(iter(value.output), "")
        return name, f"{value.op_type} node '{name}'"
    return None
