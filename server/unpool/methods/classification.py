"""The strongest classes of an output."""

from __future__ import annotations

import numpy as np

from unpool.engine import Engine, Feeds
from unpool.graph.errors import InvalidArgumentError, NotFoundError, PreconditionError
from unpool.methods.requests import Score


def classify(
    engine: Engine, feeds: Feeds, *, top: int, output: str | None = None, probability: bool = False
) -> tuple[str, tuple[Score, ...]]:
    """The best scores of one output.

    Args:
        engine: the model.
        feeds: one image.
        top: how many classes.
        output: which output; the first by default.
        probability: apply softmax to the output's values, for a model that ends in logits.

    Returns:
        The output's name, and scores best first, ties to the lower index.

    Raises:
        InvalidArgumentError: ``top`` below 1, or inputs that the model does not take.
        NotFoundError: no such output.
        PreconditionError: the output is not one row of scores.
    """
    if top < 1:
        raise InvalidArgumentError("top_k", f"{top} classes cannot be given; ask for 1 or more")
    outputs = engine.model.graph.outputs
    name = output or outputs[0]
    if name not in outputs:
        raise NotFoundError("output", name, outputs)
    values = engine.run(feeds, [name])[name]
    row = values.astype(np.float64).reshape(-1)
    if row.size != max(values.shape, default=1) or row.size < 2:
        raise PreconditionError(f"output '{name}' of shape {values.shape} is not one row of class scores")
    if probability:
        row = np.exp(row - row.max())
        row /= row.sum()
    order = np.argsort(-row, kind="stable")[:top]
    return name, tuple(Score(int(i), float(row[i])) for i in order)
