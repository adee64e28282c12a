"""One loaded model on one device: forward runs, captures, walks and torch segments, behind one object."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch

from unpool.engine.binding import Extents, Shape, bind
from unpool.engine.boxes import Ints
from unpool.engine.branching import Branches
from unpool.engine.captures import Capture, CaptureStore
from unpool.engine.capturing import Capturing
from unpool.engine.devices import Device, resolve
from unpool.engine.executor import Executor
from unpool.engine.feeds import Feeds, check
from unpool.engine.forward import Forward
from unpool.engine.geometry import Field, Geometry
from unpool.engine.heap import bound_caches
from unpool.engine.occluders import Occluders
from unpool.engine.occluding import Asked, forward_batch, stages
from unpool.engine.patchwise import Occlusion
from unpool.engine.plan import Plan, Route, route
from unpool.engine.policies import Policy
from unpool.engine.recent import Recent
from unpool.engine.sessions import shape_name
from unpool.engine.settings import EngineSettings
from unpool.engine.switches import crossed
from unpool.engine.verification import batches_hold
from unpool.engine.walk import Piece, Signal, Walker
from unpool.engine.weights import Weights
from unpool.graph import Model
from unpool.graph.errors import NotFoundError, PreconditionError
from unpool.graph.model import Array, BatchSupport

_GEOMETRIES = 32
"""Input shapes that are remembered: callers of a model of any size may bring a new one each time."""
_ROUTES = 256

_Extents = tuple[tuple[str, Shape], ...]
"""Of every input, which tells one geometry from another."""


class Engine:
    """Runs one model.

    Threads may share it: sessions, captures and weights are made under locks. Torch's thread count is set for the whole
    process.

    Args:
        model: what is run.
        settings: limits.
        captures: where captures are kept, of a budget that several engines share.
        scope: tells this engine's captures there from those of others.
    """

    def __init__(
        self,
        model: Model,
        settings: EngineSettings | None = None,
        *,
        captures: CaptureStore | None = None,
        scope: str = "",
    ) -> None:
        self.model = model
        self.settings = settings or EngineSettings()
        self._device: Device = resolve(self.settings.device)
        torch.set_num_threads(self.settings.thread_count)
        bound_caches()
        self.weights = Weights(model.graph, self._device.torch)
        self._forward = Forward(model, self._device, self.settings)
        self._captures = captures or CaptureStore(self.settings.capture_bytes)
        self._scope = scope
        self._capturing = Capturing(model.graph, self._device, self._forward, self.settings.request_bytes)
        self._branches = Branches(model, self._deciding)
        self._extents: Recent[_Extents, tuple[dict[str, Shape], frozenset[str]]] = Recent(_GEOMETRIES)
        self._geometries: Recent[tuple[_Extents, str], Geometry] = Recent(_GEOMETRIES)
        self._routes: Recent[tuple[frozenset[str], frozenset[str], Policy], Route] = Recent(_ROUTES)
        self._crossed: Recent[str, dict[str, int]] = Recent(_ROUTES)
        self._batch_proven: bool | None = None
        self._lock = threading.RLock()

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda:N``."""
        return self._device.name

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's providers in use."""
        return tuple(p if isinstance(p, str) else p[0] for p in self._device.providers)

    @property
    def copies(self) -> int:
        """How many times the model's weights are held: once, and once more for each combination of branches kept."""
        return 1 + self._branches.copies

    def close(self) -> None:
        """Lets go of sessions, weights and captures."""
        self._branches.close()
        self._forward.close()
        self._captures.clear()
        self.weights.clear()

    def forget(self) -> None:
        """Lets go of what was captured."""
        self._captures.clear()

    def prepare(self) -> None:
        """Makes the plain session, so that a model that ONNX Runtime refuses is found out at load."""
        self._forward.prepare()

    # -- forward ------------------------------------------------------------------------------------------------------

    def check(self, feeds: Feeds) -> None:
        """Refuses inputs that the model cannot take.

        Raises:
            InvalidArgumentError: a missing or unknown name, a wrong dtype, rank or extent, NaN or infinity.
        """
        check(self.model.graph, feeds)

    def images(self, feeds: Feeds) -> int:
        """How many images are fed at once: what is looked at may be common to all of them, as a graph of atoms is."""
        axes = {name: self.model.graph.values[name].batch_axis for name in self.model.graph.inputs}
        return max((feeds.arrays[name].shape[axis] for name, axis in axes.items() if axis is not None), default=1)

    def run(self, feeds: Feeds, names: Sequence[str] | None = None) -> dict[str, Array]:
        """A plain forward run.

        Args:
            feeds: the inputs.
            names: values that are wanted; the model's outputs by default. The graph is cut at the deepest of them.

        Returns:
            Value name -> array, in the model's own layout.
        """
        self.check(feeds)
        wanted = list(names if names is not None else self.model.graph.outputs)
        self._capturing.admit(Plan(frozenset(wanted)), self.geometry(feeds))
        found = self._forward.run(Plan(frozenset(wanted)), feeds)
        return {name: found[name].numpy(force=True) for name in wanted}

    def attempt(self, feeds: Feeds, seconds: float) -> None:
        """A plain forward run, of which nothing is wanted but that it ends well.

        Args:
            feeds: the inputs.
            seconds: it is given up behind the first node that ends later.

        Raises:
            InvalidArgumentError: the model does not take these inputs.
            PreconditionError: ONNX Runtime fails on them.
            TimeoutError: the run was given up.
        """
        self.check(feeds)
        self._forward.attempt(feeds, seconds)

    def proven_batch(self, feeds: Feeds) -> bool:
        """Whether several images may be fed at once.

        The graph has to say so, and two images at once have to give what each gives alone, which is tried on first use.
        An If that the image decides takes one branch for all of them, so it has them come one by one.

        Args:
            feeds: one image.
        """
        if self.model.graph.batch is not BatchSupport.SYMBOLIC:
            return False
        if self._branches.conditions() != self._branches.conditions(feeds.of):
            return False
        with self._lock:
            if self._batch_proven is None:
                self._batch_proven = batches_hold(self.model.graph, self.run, feeds)
            return self._batch_proven

    # -- branches -----------------------------------------------------------------------------------------------------

    def taken(self, feeds: Feeds, *, asked: Iterable[str] | None = None, changing: str | None = None) -> Engine:
        """The model with the branches of its Ifs that these inputs take, as an engine; this one where there are none.

        The conditions are run for on every call, so that the answer holds for these inputs and for no others. An If
        within a branch is decided once the branch is known.

        Args:
            feeds: the inputs.
            asked: layers and tensors that are wanted, by any of their names: an If that none of them is computed from
                stays undecided, so that nothing behind them has to run on these inputs. Everything by default.
            changing: an input that is yet to be changed, as by occlusion: an If whose condition is computed from it
                stays undecided.

        Raises:
            InvalidArgumentError: inputs that the model does not take.
            PreconditionError: a branch that cannot be served; the message says what decided it.
        """
        if not self._branches.conditions(changing=changing):
            return self
        names = tuple(asked) if asked is not None else None
        conditions = self._branches.conditions(self._known(names), changing)
        if not conditions:
            return self
        self.check(feeds)
        found = self._forward.run(Plan(frozenset(conditions)), feeds)
        engine = self._branches.taken({name: found[name] for name in conditions})
        return engine.taken(feeds, asked=names, changing=changing)

    def _known(self, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """The tensors of these names; none are known where one of them may be a branch's."""
        try:
            return None if names is None else tuple(self.resolve(name, name) for name in names)
        except (NotFoundError, PreconditionError):
            return None

    def ways(self) -> tuple[Engine, ...]:
        """The ways through the branches of the model's Ifs, each as an engine; none where no If is left to decide."""
        return self._branches.ways()

    def _deciding(self, model: Model, words: str) -> Engine:
        return Engine(model, self.settings, captures=self._captures, scope=f"{self._scope}{words}; ")

    # -- geometry -----------------------------------------------------------------------------------------------------

    def geometry(self, feeds: Feeds) -> Geometry:
        """Shapes and windows for inputs of these extents; what symbols do not tell, a run does.

        What the numbers fed decide is of this input alone, and found out when it is first asked for.
        """
        key = tuple((n, feeds.arrays[n].shape) for n in self.model.graph.inputs)
        with self._lock:
            decided, counted = self._extents.find(key, lambda: self._decided(feeds))
            return self._geometries.find(
                (key, feeds.digest if counted else ""),
                lambda: Geometry(self.model.graph, Extents(decided, partial(self._counted, counted, feeds))),
            )

    def _decided(self, feeds: Feeds) -> tuple[dict[str, Shape], frozenset[str]]:
        """The shapes that the inputs' extents decide, and the names of the values whose shapes they do not."""
        shapes, unknown = bind(self.model.graph, feeds.arrays)
        counted = unknown & self.model.graph.counted
        try:
            return shapes | self._told(unknown - counted, feeds), counted
        except PreconditionError:
            # The model fails on these numbers; what leads up to a value may not.
            return shapes, unknown

    def _counted(self, names: frozenset[str], feeds: Feeds, upto: str | None) -> dict[str, Shape]:
        """Shapes of all names, or of what one value is computed from."""
        return self._told(names if upto is None else names & self.model.graph.ancestors([upto]), feeds)

    def _told(self, names: frozenset[str], feeds: Feeds) -> dict[str, Shape]:
        """Shapes by a run."""
        told = self._forward.run(Plan(frozenset(), shapes=names), feeds) if names else {}
        return {n: tuple(int(d) for d in told[shape_name(n)]) for n in names if shape_name(n) in told}

    def declared_geometry(self) -> Geometry | None:
        """Shapes and windows for the declared extents, batch 1; ``None`` where the inputs leave another extent open."""
        graph = self.model.graph
        arrays: dict[str, Array] = {}
        for name in graph.inputs:
            value = graph.values[name]
            if value.shape is None:
                return None
            extents = [1 if i == value.batch_axis else d for i, d in enumerate(value.shape)]
            if not all(isinstance(d, int) for d in extents):
                return None
            shape = tuple(int(d) for d in extents if isinstance(d, int))
            arrays[name] = np.zeros(shape, value.dtype or "float32")
        return self.geometry(Feeds(arrays, graph.inputs[0]))

    def receptive_field(self, layer: str, to: str | None = None) -> tuple[Field, ...]:
        """The receptive field of a layer's units for the declared extents; empty where the model leaves its plane open.

        Args:
            layer: tensor name.
            to: tensor name; the first input by default.

        Raises:
            PreconditionError: the layer is not computed from ``to``.
        """
        geometry = self.declared_geometry()
        return geometry.receptive_field(layer, to or self.model.graph.inputs[0]) if geometry else ()

    def switches(self, layer: str, to: str | None = None) -> int:
        """How many max-pool nodes lie between a layer and ``to`` (the first input by default)."""
        return self._pools_above(to or self.model.graph.inputs[0]).get(layer, 0).bit_count()

    def _pools_above(self, to: str) -> dict[str, int]:
        """Value name -> the max pools between it and ``to``, as bits, for every value that ``to`` reaches."""
        with self._lock:
            return self._crossed.find(to, lambda: crossed(self.model.graph, to))

    # -- capture and walk ---------------------------------------------------------------------------------------------

    def route(self, seeds: Iterable[str], to: Iterable[str], policy: Policy) -> Route:
        """The way of a signal, kept once found; see ``unpool.engine.plan.route``."""
        key = (frozenset(seeds), frozenset(to), policy)
        with self._lock:
            return self._routes.find(key, lambda: route(self.model.graph, key[0], key[1], policy))

    def capture(
        self, feeds: Feeds, values: Iterable[str] = (), masks: Iterable[str] = (), switches: Iterable[str] = ()
    ) -> Capture:
        """What a forward run leaves behind; only what an earlier capture of the same input does not hold is run for.

        Args:
            feeds: the inputs.
            values: value names to keep whole.
            masks: value names of which the sign is kept.
            switches: max-pool node names.

        Returns:
            A capture that holds all of it. A later call on the same input may add to it.
        """
        with self._lock:
            found = self._begun(feeds)
            wanted = self._capturing.missing(found, values, masks, switches)
            if wanted.plan is not None:
                self._capturing.admit(wanted.plan, found.geometry)
                self._capturing.fill(found, feeds, wanted)
            self._captures.put(self._scope + feeds.digest, found)
            return found

    def opening(self, feeds: Feeds, route: Route, also: Iterable[str] = ()) -> Iterator[None]:
        """Makes the session that ``captured_for`` will need, in stages; the caller may give up between them."""
        with self._lock:
            found = self._begun(feeds)
            wanted = self._capturing.missing(found, route.values | set(also), route.masks, route.switches)
        if wanted.plan is not None:
            self._capturing.admit(wanted.plan, found.geometry)
            yield from self._forward.opening(wanted.plan, feeds)

    def _begun(self, feeds: Feeds) -> Capture:
        """The capture of an input as far as there is one."""
        found = self._captures.get(self._scope + feeds.digest)
        return Capture(self.geometry(feeds), self.images(feeds)) if found is None else found

    def walk(self, route: Route, capture: Capture, seeds: Mapping[str, Signal], images: Ints) -> Iterator[Piece | None]:
        """Carries signals along a route; see ``unpool.engine.walk.Walker.walk``."""
        walker = Walker(route, capture, self.weights, self.settings.piece_bytes)
        return walker.walk(seeds, images)

    def captured_for(self, feeds: Feeds, route: Route, also: Iterable[str] = ()) -> Capture:
        """The capture that a route needs, and some values beside."""
        return self.capture(feeds, route.values | set(also), route.masks, route.switches)

    def executor(self, sources: Iterable[str], sinks: Iterable[str]) -> Executor:
        """A differentiable segment of the model in torch.

        Args:
            sources: value names where it begins; empty for the model's inputs.
            sinks: value names where it ends.
        """
        return Executor(self.model.graph, self.weights, Plan(frozenset(sinks), sources=frozenset(sources)))

    # -- occlusion ----------------------------------------------------------------------------------------------------

    def forward_batch(self, feeds: Feeds) -> int:
        """How many images a batch of whole forward runs may have: about a piece's multiply-adds, or a few at least."""
        return forward_batch(self.geometry(feeds), self.settings)

    def occlusion(
        self,
        feeds: Feeds,
        occluders: Occluders,
        names: Sequence[str],
        maps: Mapping[str, int],
        *,
        forced: bool,
        batched: bool,
    ) -> Iterator[Occlusion | None]:
        """Prepares the patchwise forward of windows over an input; see ``unpool.engine.occluding.stages``."""
        wanted = Asked(feeds, occluders, names, maps, forced=forced, batched=batched)
        geometry = self.geometry(feeds)
        return stages(wanted, geometry, self.weights, self._forward, partial(self.capture, feeds), self.settings)

    def resolve(self, name: str | None, default: str) -> str:
        """The tensor name behind a layer's or a tensor's name.

        Raises:
            NotFoundError: no such layer or tensor; tells the nearest.
            PreconditionError: it was folded away.
        """
        if name is None:
            return default
        if name in self.model.graph.values:
            return name
        if name in self.model.graph.constants:
            raise PreconditionError(f"'{name}' is a constant of the model: no signal reaches it")
        return self.model.layers.find(name).name
