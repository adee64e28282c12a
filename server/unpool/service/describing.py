"""Handlers of questions about models: what there is, what each is, and its layers."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from weakref import WeakKeyDictionary

from unpool.engine.engine import Engine
from unpool.graph import Layer, Layers
from unpool.graph.errors import InvalidArgumentError, NotFoundError
from unpool.repository import Entry, ModelListing, Parity, Repository
from unpool.service.answers import DescribedLayer, LayersPage, ModelAnswer
from unpool.service.questions import LayersQuestion, ModelQuestion


class ModelHandlers:
    """Answers questions about models. Nothing here runs one, but describing one loads it.

    Args:
        repository: the models.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        # Fields and switches take a walk through the graph for each layer; pages are asked for again and again.
        self._described: WeakKeyDictionary[Engine, dict[tuple[str, str], DescribedLayer]] = WeakKeyDictionary()

    def list_models(self) -> tuple[ModelListing, ...]:
        """Every model, by name."""
        return self._repository.list()

    def get_model(self, question: ModelQuestion) -> ModelAnswer:
        """One version of a model."""
        with self._repository.lend(question.name, question.version) as entry:
            parity = _parity(entry)
            return ModelAnswer(entry, _warnings(entry, parity), parity)

    def list_layers(self, question: LayersQuestion) -> LayersPage:
        """A page of a model's layers, in topological order; behind them the layers of its branches."""
        with self._repository.lend(question.model.name, question.model.version) as entry:
            engine = entry.engine
            of = _looked_at(entry, question.of)
            scope: list[str | int] = [entry.name, entry.version, engine.model.digest[:16], of]
            begin = _begin(question.page_token, scope)
            layers = _layers(engine)
            known = self._described.setdefault(engine, {})
            page = []
            for inner, layer in layers[begin : begin + question.page_size]:
                key = (layer.name, of)
                if key not in known:
                    more = _more_aliases(inner.model.layers)
                    known[key] = _described(inner, layer, of, tuple(more.get(layer.name, ())))
                page.append(known[key])
            end = begin + len(page)
            token = _token(end, scope) if page and end < len(layers) else ""
            return LayersPage(tuple(page), token, len(layers), entry.version)


def _parity(entry: Entry) -> Parity | None:
    found = entry.parity
    return found.result() if found is not None and found.done() and not found.cancelled() else None


def _warnings(entry: Entry, parity: Parity | None) -> tuple[str, ...]:
    found = list(entry.preprocessing.warnings) if entry.preprocessing is not None else []
    if entry.warning:
        found.append(entry.warning)
    classes = {layer.channels for layer in entry.engine.model.layers if layer.is_output}
    if entry.labels and classes and len(entry.labels) not in classes:
        found.append(f"there are {len(entry.labels)} labels, but no output has as many classes")
    if parity is not None and parity.outputs and not parity.holds:
        found.append(f"{parity}: projections may be of another function than the scores")
    return tuple(found)


def _layers(engine: Engine) -> list[tuple[Engine, Layer]]:
    """The layers of a model, and behind them those of its branches, each with an engine that has it."""
    found = {layer.name: (engine, layer) for layer in engine.model.layers}
    for inner in engine.ways():
        for layer in inner.model.layers:
            found.setdefault(layer.name, (inner, layer))
    return list(found.values())


def _looked_at(entry: Entry, of: str | None) -> str:
    inputs = entry.engine.model.graph.inputs
    if of is not None:
        if of not in inputs:
            raise NotFoundError("input", of, inputs)
        return of
    return entry.preprocessing.target.name if entry.preprocessing is not None else inputs[0]


def _more_aliases(layers: Layers) -> Mapping[str, list[str]]:
    """Tensor name -> the names that begin with another layer's alias, such as ``conv5_3:pre``."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        for suffix in layer.suffixes:
            found.setdefault(layers.find(layer.alias + suffix).name, []).append(layer.alias + suffix)
    return found


def _described(engine: Engine, layer: Layer, of: str, more_aliases: tuple[str, ...]) -> DescribedLayer:
    graph = engine.model.graph
    # Constants have no way from the input, and so no field.
    reached = of in graph.ancestors([layer.name])
    return DescribedLayer(
        layer=layer,
        more_aliases=more_aliases,
        dtype=graph.values[layer.name].dtype,
        fields=engine.receptive_field(layer.name, of) if reached else (),
        switches=engine.switches(layer.name, of) if reached else 0,
    )


def _token(begin: int, scope: list[str | int]) -> str:
    return base64.urlsafe_b64encode(json.dumps([begin, *scope]).encode()).decode()


def _begin(token: str, scope: list[str | int]) -> int:
    if not token:
        return 0
    try:
        begin, *found = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, binascii.Error):
        begin, found = -1, []
    if not isinstance(begin, int) or begin < 0 or found != scope:
        raise InvalidArgumentError(
            "page_token", "is not the next_page_token of a page of this model, version and input; begin without one"
        )
    return begin
