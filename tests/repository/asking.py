"""Questions about a model that nobody sane made: each ends in an answer, or in one of our own errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from unpool.engine import Engine, Feeds, Policy
from unpool.graph.errors import UnpoolError
from unpool.graph.model import BATCH
from unpool.methods import Mode, OcclusionRequest, ProjectionRequest, Target, occlude, project
from unpool.repository.admission.sampling import samples

_EXTENTS_TRIED = 2
_LAYERS_ASKED = 4


def faults(engine: Engine) -> tuple[list[str], list[str]]:
    """Asks what one asks of a model.

    Returns:
        What was raised that is not ours; and the sentences that were told.
    """
    raised, told = [], []
    for words, ask in _questions(engine):
        try:
            ask()
        except UnpoolError as error:
            told.append(str(error))
        except MemoryError:
            told.append(f"{words}: there is not enough memory")
        except Exception as error:
            raised.append(f"{words}: {error!r}")
    return raised, told


def _questions(engine: Engine) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "the declared extents", engine.declared_geometry
    for number, feeds in enumerate(samples(engine.model.graph)):
        if number == _EXTENTS_TRIED:
            return
        yield "a run", partial(engine.run, feeds)
        try:
            taken = engine.taken(feeds)
        except UnpoolError:
            continue
        layers = [layer.name for layer in taken.model.layers]
        for layer in dict.fromkeys((*layers[: _LAYERS_ASKED // 2], *layers[-_LAYERS_ASKED // 2 :])):
            yield f"what {layer!r} sees", partial(taken.receptive_field, layer)
            for policy in Policy:
                request = ProjectionRequest(layer, top=2, policy=policy)
                yield f"{policy.value} of {layer!r}", lambda t=taken, f=feeds, r=request: list(project(t, f, r))
        window = _window(taken, feeds)
        for mode in (Mode.BOXES, Mode.BRUTE_FORCE) if window else ():
            hiding = OcclusionRequest(window, window, targets=_target(taken), layer=(layers or [None])[-1], mode=mode)
            yield f"{mode.value} of {window}", lambda t=taken, f=feeds, r=hiding: list(occlude(t, f, r))


def _target(engine: Engine) -> tuple[Target, ...]:
    """The first element of the first output, as far as its rank is known."""
    graph = engine.model.graph
    value = graph.values.get(graph.outputs[0])
    if value is None or value.shape is None:
        return ()
    return (Target.element(*(0 for axis in value.axes if axis is not BATCH), output=value.name),)


def _window(engine: Engine, feeds: Feeds) -> tuple[int, ...]:
    """Half of each side of what is looked at; nothing where it has no plane."""
    shape = feeds.arrays[feeds.of].shape
    return tuple(max(1, shape[axis] // 2) for axis in engine.model.graph.values[feeds.of].spatial_axes.values())
