"""A loaded version of a model with what lies beside it: engine, labels, preprocessing."""

from __future__ import annotations

import logging
import math
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from unpool.engine.engine import Engine
from unpool.engine.settings import EngineSettings
from unpool.graph import load
from unpool.graph.errors import ModelError
from unpool.graph.model import Graph
from unpool.repository.admission import Examiner, Parity, RefusedError
from unpool.repository.labels import read_labels
from unpool.repository.layout import PREPROCESSING, Source
from unpool.repository.preprocessing import Preprocessing, default_recipe
from unpool.repository.recipe import Recipe, parse_recipe
from unpool.repository.target import picture_input

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Entry:
    """One loaded version.

    Attributes:
        name: the model's name.
        version: a positive integer.
        engine: what runs it; ``engine.model`` is what it is.
        labels: names of its classes, in order; empty where there are none.
        preprocessing: how pictures become its input; ``None`` where it takes no pictures.
        size: about how many bytes its weights take once.
        warning: what its examination says of it though it is admitted, one sentence; mostly empty.
        parity: how torch and ONNX Runtime compare on it, once that is known; ``None`` where nobody finds out.
    """

    name: str
    version: int
    engine: Engine
    labels: tuple[str, ...]
    preprocessing: Preprocessing | None
    size: int
    parity: Future[Parity] | None = None
    warning: str = ""

    @property
    def held(self) -> int:
        """About how many bytes its weights take now: more with every combination of branches that inputs took."""
        return self.size * self.engine.copies


def open_entry(source: Source, settings: EngineSettings, examiner: Examiner | None = None) -> Entry:
    """Loads a version from disk.

    Args:
        source: the version.
        settings: how it is run.
        examiner: has the file examined before this process reads it; ``None`` trusts it.

    Raises:
        ModelError: the model, or a file beside it, cannot be used; the message names the node or the file.
    """
    if source.fault:
        raise ModelError(source.fault)
    # The small files first: a mistake there should not cost the loading of the weights.
    labels = read_labels(source)
    recipe = _recipe(source)
    verdict = None if examiner is None else examiner.admit(source.file, source.signature)
    if verdict is not None and not verdict.admitted:
        raise RefusedError(verdict.reason, node=verdict.node, passing=verdict.passing)
    model = load(source.file)
    if verdict is not None and model.digest != verdict.digest:
        # What was read is not what was examined; it has not been run yet, and is not.
        raise RefusedError("the file changed while it was examined; ask again", passing=True)
    preprocessing = _preprocessing(source, model.graph, recipe)
    engine = Engine(model, settings)
    try:
        # What ONNX Runtime refuses should be known before somebody asks.
        engine.prepare()
    except BaseException:
        engine.close()
        raise
    parity = None if examiner is None else examiner.compare(source.file, source.signature)
    warning = "" if verdict is None else verdict.warning
    if warning:
        _log.warning("trial run failed", extra={"file": str(source.file), "reason": warning})
    size = _size(source, model.graph)
    return Entry(source.name, source.version, engine, labels, preprocessing, size, parity, warning)


def _recipe(source: Source) -> Recipe | None:
    path = source.beside(PREPROCESSING)
    if path is None:
        return None
    try:
        return parse_recipe(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ModelError(f"{PREPROCESSING} is not UTF-8") from error


def _preprocessing(source: Source, graph: Graph, recipe: Recipe | None) -> Preprocessing | None:
    target = picture_input(graph, source.config.inputs)
    if target is None:
        if recipe is not None:
            raise ModelError(
                f"there is a {PREPROCESSING}, but no input for pictures: "
                "one input of one or three channels over a plane of two axes is needed"
            )
        return None
    return Preprocessing(target, recipe or default_recipe(target), described=recipe is not None)


def _size(source: Source, graph: Graph) -> int:
    """Weights may be made up by the graph, or lie outside the file: the larger of the two counts."""
    made = sum(math.prod(c.shape) * np.dtype(c.dtype).itemsize for c in graph.constants.values() if _counts(c.dtype))
    return max(made, sum(size for _, _, size in source.signature))


def _counts(dtype: str) -> bool:
    return dtype in ("float16", "float32", "float64", "int8", "uint8", "int32", "int64")
