"""Deciding: a model in which Ifs take the branches that some input makes them take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from unpool.graph.errors import ModelError
from unpool.graph.layers import Layers
from unpool.graph.model import OTHER, Axis, Value
from unpool.graph.normalising import Model, Way, normalise
from unpool.graph.passes.branches import conditions_of, settle_conditions
from unpool.graph.stages import stage

_MOST_WAYS = 16
"""Ways that are looked at beforehand: four levels of Ifs within Ifs."""


def with_branches(model: Model) -> Model:
    """A model that knows the ways through its Ifs; on axes that it cannot label itself, it says what all of them say.

    Args:
        model: normalised.

    Returns:
        The model itself where there is nothing to decide.
    """
    found = tuple(_found_ways(model))
    served = [way.model for way in found if way.model is not None]
    if not served:
        return replace(model, ways=found) if found else model
    values = {name: _labelled(value, served) for name, value in model.graph.values.items()}
    graph = replace(model.graph, values=MappingProxyType(values))
    with stage("listing the layers"):
        layers = Layers(graph)
    return replace(model, graph=graph, layers=layers, ways=found)


def _labelled(value: Value, models: list[Model]) -> Value:
    """A value with the axes that every way gives it: what lies before an If is often read by nothing else."""
    said = [model.graph.values[value.name].axes for model in models if value.name in model.graph.values]
    if not value.axes or not said or any(len(axes) != len(value.axes) for axes in said):
        return value
    return replace(value, axes=tuple(_agreed(labels) for labels in zip(*said, strict=True)))


def _agreed(labels: tuple[Axis, ...]) -> Axis:
    return labels[0] if len(set(labels)) == 1 else OTHER


def _found_ways(model: Model) -> Iterator[Way]:
    """Ways of deciding that together take every branch, at least once: on each level all are true, or all are not.

    Yields:
        Up to sixteen ways; none where there is nothing to decide.
    """
    yield from _ways(model, {}, len(undecided(model)), _MOST_WAYS)


def _ways(model: Model, before: Mapping[str, bool], first: int, most: int) -> Iterator[Way]:
    conditions = undecided(model)
    for truth in (True, False) if conditions else ():
        values = {**before, **dict.fromkeys(conditions, truth)}
        try:
            decided = decide(model, dict.fromkeys(conditions, truth))
        except ModelError as error:
            yield Way(values, first, None, str(error))
            continue
        if undecided(decided):
            if most > 1:
                yield from _ways(decided, values, first, most // 2)
        else:
            yield Way(values, first, decided)


def in_words(conditions: Mapping[str, bool]) -> str:
    """What conditions are: ``'a' is true, 'b' is false``."""
    return ", ".join(f"'{name}' is {str(value).lower()}" for name, value in conditions.items())


def undecided(model: Model) -> tuple[str, ...]:
    """What decides the Ifs that are left in a model: names of tensors or inputs, in the order of the graph.

    An If within another's branch comes up once the outer one is decided. Those within loops never do.
    """
    return tuple(dict.fromkeys(v.name for v in conditions_of(model.runtime) if v.name))


def decide(model: Model, conditions: Mapping[str, bool]) -> Model:
    """The model as it is where some conditions have these values; the model that is given stays as it was.

    Args:
        model: normalised.
        conditions: some of ``undecided(model)``, and what each is.

    Returns:
        A model of the same inputs and outputs, whose decided Ifs are the nodes of the branch taken. Its tensors keep
        their names; those of a branch get the If's own name in front where another tensor has them.

    Raises:
        ModelError: a branch that cannot be served.
    """
    with stage("copying the model"):
        runtime = model.runtime.clone()
    with stage("taking a branch"):
        settle_conditions(runtime, conditions)
    graph = normalise(runtime)
    with stage("listing the layers"):
        layers = Layers(graph)
    return Model(model.digest, runtime, graph, layers, model.left_out)
