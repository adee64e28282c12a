"""The trial run: what ONNX Runtime took for sound is run once, within the examination, before anyone asks for it."""

from __future__ import annotations

import math
import time

import numpy as np

from unpool.engine.binding import bind
from unpool.engine.engine import Engine
from unpool.engine.feeds import Feeds
from unpool.graph.errors import UnpoolError
from unpool.graph.model import Graph
from unpool.repository.admission.sampling import declared, samples

_SECONDS = 2.0
_BYTES = 8
"""Of an element at most: values are float32 nearly everywhere, and some are held twice."""


def attempt(engine: Engine, memory_bytes: int, no_memory: tuple[str, ...]) -> str:
    """Runs the model once on random input, and where it fails on that, on zeros; a crash ends this process.

    A model is not refused for failing: it may fail on these numbers alone. Nothing is said of a model whose extents had
    to be guessed, of a run that takes longer than two seconds, and of one that wants too much memory.

    Args:
        engine: the model, on the CPU.
        memory_bytes: a model whose values may take more, all together, is not tried.
        no_memory: words by which a failure for want of memory is known.

    Returns:
        What ONNX Runtime says of input of the declared extents, one sentence; empty where there is nothing to say.
    """
    graph = engine.model.graph
    ends = time.monotonic() + _SECONDS
    told = ""
    for feeds in samples(graph):
        if _bytes(graph, feeds) > memory_bytes:
            return ""
        zeros = Feeds({name: np.zeros_like(array) for name, array in feeds.arrays.items()}, feeds.of)
        for each in (feeds, zeros):
            left = ends - time.monotonic()
            if left <= 0:
                return ""
            try:
                engine.attempt(each, left)
            except TimeoutError:
                return ""
            except UnpoolError as error:
                if any(words in str(error) for words in no_memory):
                    return ""
                told = told or _told(feeds, str(error))
            else:
                return ""
    return told if declared(graph) else ""


def _told(feeds: Feeds, reason: str) -> str:
    extents = ", ".join(f"'{name}' {tuple(array.shape)}" for name, array in feeds.arrays.items())
    return f"it fails on random input and on zeros of the extents that it declares, {extents}: {reason}"


def _bytes(graph: Graph, feeds: Feeds) -> int:
    shapes, _ = bind(graph, feeds.arrays)
    return _BYTES * sum(math.prod(shape) for shape in shapes.values())
