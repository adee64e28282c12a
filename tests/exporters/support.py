"""What every exporter's file is asked: is it admitted, does torch give what ONNX Runtime gives, is it projected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
from tests.engine.support import FORWARD, close

from unpool.engine import Engine, EngineSettings, Feeds, Policy
from unpool.graph import load
from unpool.methods import Projection, ProjectionHeader, ProjectionRequest, project


@dataclass(eq=False)
class Exported:
    """A file's bytes and an input.

    Attributes:
        name: of the network.
        data: the file.
        arrays: input name -> array.
    """

    name: str
    data: bytes
    arrays: Mapping[str, npt.NDArray[np.generic]]

    @cached_property
    def engine(self) -> Engine:
        return Engine(load(self.data), EngineSettings(device="cpu", threads=1))

    @cached_property
    def feeds(self) -> Feeds:
        return Feeds(dict(self.arrays), next(iter(self.arrays)))

    @cached_property
    def sink(self) -> str:
        """Where signals end: the looked-at input, or the first tensor of real numbers behind whole ones."""
        graph = self.engine.model.graph
        if graph.values[self.feeds.of].dtype.startswith("float"):
            return self.feeds.of
        below = graph.descendants([self.feeds.of])
        return next(o for n in graph.nodes for o in n.outputs if o in below and graph.values[o].dtype == "float32")

    @property
    def expected(self) -> dict[str, npt.NDArray[np.generic]]:
        """The outputs by ONNX Runtime from the file as it is."""
        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(self.data, options, providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(self.arrays)), strict=True))

    def check_forward(self) -> None:
        """Asserts that torch gives what ONNX Runtime gives, to 1e-4 relative."""
        graph = self.engine.model.graph
        floats = [o for o in graph.outputs if graph.values[o].dtype == "float32"]
        inputs = {name: torch.from_numpy(array) for name, array in self.arrays.items()}
        with torch.no_grad():
            found = self.engine.executor([], floats)(inputs)
        for name in floats:
            close(found[name].numpy(), self.expected[name], FORWARD)

    def check_projections(self, policy: Policy) -> None:
        """Asserts that the strongest unit of every layer above the sink has a finite projection, and not all blank."""
        strengths = []
        graph = self.engine.model.graph
        above = {self.sink}
        for node in graph.nodes:  # what only the input's extents decide takes no signal down
            if not above.isdisjoint(node.inputs):
                above |= {o for o in node.outputs if o and graph.values[o].dtype.startswith("float")}
        above.discard(self.sink)
        to = None if self.sink == self.feeds.of else self.sink
        for layer in self.engine.model.layers:
            value = graph.values[layer.name]
            if layer.name not in above or value.channel_axis is None or value.batch_axis is None:
                continue
            request = ProjectionRequest(layer=layer.name, top=1, policy=policy, to=to)
            found = [r for r in project(self.engine, self.feeds, request) if r is not None]
            assert isinstance(found[0], ProjectionHeader)
            assert isinstance(found[1], Projection)
            assert np.isfinite(found[1].signal).all()
            strengths.append(float(np.abs(found[1].signal).max(initial=0)))
        assert strengths, "no layer can be asked"
        assert max(strengths) > 0, "every picture is blank"
