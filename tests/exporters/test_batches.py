"""Files of both of torch's exporters with open extents, at other sizes, two inputs at once in the engine."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from tests.engine.support import FORWARD, arrived, close, seed, units_at
from tests.exporters.networks import NETWORKS, module
from tests.exporters.support import Exported
from tests.exporters.test_torch import EXPORTERS

from unpool.engine import Feeds, Policy
from unpool.methods import Projection, ProjectionHeader, ProjectionRequest, project

SIZES = {
    "residual": [(32, 24), (41, 29), (19, 64)],
    "audio": [(256,), (301,), (1000,)],
    "transformer": [(9,), (4,), (12,)],
    "hourglass": [(16, 24), (24, 20), (8, 44)],
}
"""The size that a network was exported with, and two others."""
FIXED = {("dynamo", "transformer")}
"""Where the exporter wrote the one image of the example into the graph: found out by trying, and asked one by one."""


@functools.cache
def _exported(exporter: str, name: str) -> Exported:
    return Exported(name, EXPORTERS[exporter](name), {"input": NETWORKS[name].example().numpy()})


def _batch(name: str, size: tuple[int, ...], images: int) -> torch.Tensor:
    example = NETWORKS[name].example()
    shape = (images, *example.shape[1 : example.ndim - len(size)], *size)
    generator = torch.manual_seed(sum(size))
    if example.dtype == torch.int64:
        return torch.randint(0, int(example.max()) + 1, shape, generator=generator)
    return torch.randn(shape, generator=generator)


ASKED = [
    pytest.param(e, n, s, id=f"{e}-{n}-{'x'.join(map(str, s))}") for e in EXPORTERS for n in SIZES for s in SIZES[n]
]


@pytest.mark.parametrize(("exporter", "name", "size"), ASKED)
def test_gradient_at_another_size_two_at_once_equals_autograd_of_the_source(
    exporter: str, name: str, size: tuple[int, ...]
) -> None:
    exported = _exported(exporter, name)
    engine, x = exported.engine, _batch(name, size, 2)
    if (exporter, name) in FIXED:
        assert not engine.proven_batch(Feeds({"input": x[:1].numpy()}, "input"))
        x = x[1:]
    feeds = Feeds({"input": x.numpy()}, "input")
    assert engine.images(feeds) == len(x)
    twin = module(name).double()
    if NETWORKS[name].to:
        kept: list[torch.Tensor] = []

        def keep(_: torch.nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
            kept.append(output.detach().requires_grad_())
            return kept[0]

        next(m for m in twin.modules() if isinstance(m, torch.nn.Embedding)).register_forward_hook(keep)
        output, leaf = twin(x), kept[0]
    else:
        leaf = x.double().requires_grad_()
        output = twin(leaf)
    top, to = engine.model.graph.outputs[0], exported.sink
    route = engine.route([top], [to], Policy.GRADIENT)
    capture = engine.captured_for(feeds, route, [top])
    close(capture.values[top].numpy(), output.detach().numpy(), FORWARD)
    for image in range(len(x)):
        units = units_at(output.detach().numpy()[image : image + 1])
        signal = seed(engine, feeds, top, units, [1.0] * len(units))
        ours = arrived(engine, route, capture, {top: signal}, [image] * len(units))
        theirs = [torch.autograd.grad(output[(image, *u)], leaf, retain_graph=True)[0][image].numpy() for u in units]
        close(ours, np.stack(theirs), FORWARD)


@pytest.mark.parametrize(("exporter", "name", "size"), [p for p in ASKED if "transformer" not in p.id])
def test_each_policy_gives_the_same_alone_and_beside_another(exporter: str, name: str, size: tuple[int, ...]) -> None:
    """One input at another size, asked the way callers ask, and the second of two walked together."""
    exported = _exported(exporter, name)
    engine, x = exported.engine, _batch(name, size, 2).numpy()
    layer = [v.name for v in engine.model.layers if engine.model.graph.values[v.name].spatial_axes][-1]
    for policy in Policy:
        request = ProjectionRequest(layer, top=2, policy=policy)
        header, *found = [r for r in project(engine, Feeds({"input": x[1:]}, "input"), request) if r is not None]
        assert isinstance(header, ProjectionHeader)
        assert header.plane == size
        both = Feeds({"input": x}, "input")
        route = engine.route([layer], ["input"], policy)
        capture = engine.captured_for(both, route, [layer])
        assert len(found) == 2
        for projection in found:
            assert isinstance(projection, Projection)
            start = projection.activation if policy is Policy.DECONVNET else 1.0
            signal = seed(engine, both, layer, [(projection.channel, *projection.position)], [start])
            (together,) = arrived(engine, route, capture, {layer: signal}, [1])
            box = tuple(slice(a, b) for a, b in zip(projection.lower, projection.upper, strict=True))
            close(projection.signal[None], together[(slice(None), *box)][None], FORWARD)
            outside = together.copy()
            outside[(slice(None), *box)] = 0
            assert not outside.any()
