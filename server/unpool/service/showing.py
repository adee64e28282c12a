"""What a request shows, made into what the model is fed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from unpool.engine.feeds import Feeds
from unpool.graph.errors import InvalidArgumentError, PreconditionError
from unpool.graph.model import Graph
from unpool.repository import ChannelOrder, Entry, decode
from unpool.service.answers import InputGeometry
from unpool.service.questions import PictureShown, Shown, TensorShown, TensorsShown


@dataclass(frozen=True, eq=False)
class Seen:
    """An input ready to run: its values, its geometry, and what to warn of."""

    feeds: Feeds
    geometry: InputGeometry
    warnings: tuple[str, ...]


def see(entry: Entry, shown: Shown, *, pixels: int) -> Seen:
    """Makes the input that a request shows.

    Args:
        entry: the model.
        shown: a picture, a tensor, or several.
        pixels: the most pixels of a picture.

    Raises:
        InvalidArgumentError: not something that this model takes; the field is the request's.
        PreconditionError: a picture for a model that takes none.
    """
    graph = entry.engine.model.graph
    match shown:
        case PictureShown():
            return _picture(entry, shown, pixels)
        case TensorShown():
            if len(graph.inputs) != 1:
                inputs = ", ".join(graph.inputs)
                raise InvalidArgumentError(
                    "input.tensor", f"the model has several inputs ({inputs}); use input.tensors"
                )
            feeds = Feeds({graph.inputs[0]: shown.array}, graph.inputs[0])
            fields = {"tensor": "input.tensor"}
        case TensorsShown():
            if shown.of is None and len(graph.inputs) != 1:
                raise InvalidArgumentError("input.tensors.of", f"is needed: one of {', '.join(graph.inputs)}")
            feeds = Feeds(shown.arrays, shown.of or graph.inputs[0])
            fields = {"tensor": "input.tensors.tensors", "inputs": "input.tensors.tensors", "of": "input.tensors.of"}
    with _named(fields):
        entry.engine.check(feeds)
    _one_example(graph, feeds, fields["tensor"])
    geometry = InputGeometry(feeds.of, _plane(graph, feeds), placement=None, order=None)
    return Seen(feeds, geometry, ())


def taking(
    entry: Entry, seen: Seen, *, asked: Iterable[str] | None = None, changing: bool = False
) -> tuple[Entry, Seen]:
    """The model with the branches of its Ifs that an example takes, and the example as that model sees it.

    Args:
        entry: the model.
        seen: the example.
        asked: layers and tensors that are wanted; everything by default.
        changing: what is looked at is yet to be changed, so that what is computed from it decides nothing.

    Raises:
        PreconditionError: a branch that cannot be served.
    """
    engine = entry.engine.taken(seen.feeds, asked=asked, changing=seen.feeds.of if changing else None)
    if engine is entry.engine:
        return entry, seen
    geometry = seen.geometry
    if geometry.placement is None:
        # A branch may show which axes are a plane.
        geometry = replace(geometry, plane=_plane(engine.model.graph, seen.feeds))
    return replace(entry, engine=engine), replace(seen, geometry=geometry)


def _picture(entry: Entry, shown: PictureShown, pixels: int) -> Seen:
    preprocessing = entry.preprocessing
    if preprocessing is None:
        raise PreconditionError(
            f"model '{entry.name}' takes no pictures: that needs one input of one or three channels "
            "over a plane of two axes; give tensors"
        )
    image = decode(shown.encoded, field="input.picture.encoded", pixels=pixels)
    with _named({"picture": "input.picture"}):
        prepared = preprocessing.apply(image, pixels=pixels)
    name = preprocessing.target.name
    feeds = Feeds({name: prepared.array}, name)
    with _named({"tensor": "input.picture"}):
        entry.engine.check(feeds)
    order = ChannelOrder.GRAY if preprocessing.order is ChannelOrder.GRAY else ChannelOrder.RGB
    geometry = InputGeometry(name, prepared.placement.plane, prepared.placement, order)
    return Seen(feeds, geometry, preprocessing.warnings)


@contextmanager
def of_example(number: int) -> Iterator[None]:
    """Of several examples of a request, errors name the one: ``inputs[number]`` in the place of ``input``."""
    try:
        yield
    except InvalidArgumentError as error:
        first, dot, rest = error.field.partition(".")
        if first != "input":
            raise
        raise InvalidArgumentError(f"inputs[{number}]{dot}{rest}", error.description) from error


@contextmanager
def _named(fields: dict[str, str]) -> Iterator[None]:
    """The engine names its own arguments; callers know the request's fields."""
    try:
        yield
    except InvalidArgumentError as error:
        raise InvalidArgumentError(fields.get(error.field, error.field), error.description) from error


def _one_example(graph: Graph, feeds: Feeds, field: str) -> None:
    for name, array in feeds.arrays.items():
        axis = graph.values[name].batch_axis
        if axis is not None and array.shape[axis] != 1:
            raise InvalidArgumentError(
                field,
                f"input '{name}' holds {array.shape[axis]} examples along its batch axis {axis}; show one at a time",
            )


def _plane(graph: Graph, feeds: Feeds) -> tuple[int, ...]:
    return tuple(feeds.arrays[feeds.of].shape[axis] for axis in graph.values[feeds.of].spatial_axes.values())
