"""Near-ties of rectifiers and max pools: where float32 falls the other way, and that nothing else differs.

A derivative jumps at a tie, so that rounding alone can change a gradient visibly. Here ties are planted, and the walk
is held to float64 autograd twice: with float64's masks and switches in its capture, and with its own in the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tests.engine.networks import Net
from tests.engine.support import NEAR_TIE, Subject, arrived, close, foreign_capture, seed
from torch import Tensor
from torch.nn import functional

from unpool.engine import Capture, Policy, Route

UNIT = (2, 1, 1)
_PLANE = (6, 12)


@dataclass(frozen=True, eq=False)
class Tied:
    """relu(A x) beside pool(B x), joined and convolved: some of A x are nearly 0, neighbours in B x nearly equal."""

    subject: Subject
    parameters: tuple[Tensor, ...]
    names: tuple[str, str, str, str]
    """Tensors: in front of and behind the rectifier, in front of and behind the pool."""

    @property
    def pool(self) -> str:
        return self.subject.engine.model.graph.producers[self.names[3]].name

    def route(self) -> Route:
        return self.subject.engine.route([self.subject.engine.model.graph.outputs[0]], ["x"], Policy.GRADIENT)

    def walked(self, capture: Capture) -> np.ndarray:
        engine, feeds, route = self.subject.engine, self.subject.feeds, self.route()
        (top,) = route.seeds
        return arrived(engine, route, capture, {top: seed(engine, feeds, top, [UNIT], [1.0])})

    def autograd(
        self, mask: Tensor | None = None, places: Tensor | None = None
    ) -> tuple[np.ndarray, dict[str, Tensor]]:
        """The gradient in float64, by its own masks and switches or by given ones, and every tensor on the way."""
        a, shift, b, top = (p.double() for p in self.parameters)
        x = torch.from_numpy(self.subject.tensor).double().requires_grad_()
        before, wide = functional.conv2d(x, a, shift), functional.conv2d(x, b)
        rectified = torch.relu(before) if mask is None else before * mask
        if places is None:
            _, places = functional.max_pool2d(wide, (1, 2), return_indices=True)
        pooled = wide.flatten(2).gather(2, places.flatten(2)).view(places.shape)
        y = functional.conv2d(torch.cat([rectified, pooled], 1), top)
        (found,) = torch.autograd.grad(y[(0, *UNIT)], x)
        values = dict(zip(self.names, (before, rectified, wide, pooled), strict=True)) | {"places": places}
        return found.numpy(), {name: value.detach() for name, value in values.items()}


@pytest.fixture(scope="module")
def tied() -> Tied:
    rng = np.random.default_rng(5)
    # Every third column is the same, and so is every tap of B along a row: its sums differ by their rounding alone.
    x = np.tile(rng.standard_normal((1, 3, _PLANE[0], 3)), _PLANE[1] // 3).astype(np.float32)
    a = rng.standard_normal((16, 3, 1, 8)).astype(np.float32)
    b = np.repeat(rng.standard_normal((8, 3, 1, 1)), 3, -1).astype(np.float32)
    top = rng.standard_normal((4, 24, 3, 3)).astype(np.float32)
    sums = functional.conv2d(torch.from_numpy(x).double(), torch.from_numpy(a).double())
    shift = -sums[0, :, 2, 2].float()  # a value of every channel is nearly 0 behind it
    net = Net(rng, (3, *_PLANE))
    before = net.add("Conv", ["x", net.weight(a), net.weight(shift.numpy())], (16, 6, 5))
    rectified = net.add("Relu", [before])
    wide = net.add("Conv", ["x", net.weight(b)], (8, 6, 10))
    pooled = net.add("MaxPool", [wide], (8, 6, 5), kernel_shape=[1, 2], strides=[1, 2])
    net.add("Concat", [rectified, pooled], (24, 6, 5), axis=1)
    net.add("Conv", [net.current, net.weight(top)], (4, 4, 3))
    subject = Subject("near ties", net.model((1, 3, *_PLANE)), x)
    parameters = (torch.from_numpy(a), shift, torch.from_numpy(b), torch.from_numpy(top))
    return Tied(subject, parameters, (before, rectified, wide, pooled))


def _captured(tied: Tied) -> tuple[Capture, Tensor, Tensor]:
    """What ONNX Runtime's run left behind, and its mask and the flat places of its switches."""
    capture = tied.subject.capture(tied.route())
    codes = capture.switches[tied.pool].long()
    rows, columns = torch.arange(codes.shape[2]).view(-1, 1), torch.arange(codes.shape[3])
    wide = 2 * codes.shape[3]
    return capture, capture.mask(tied.names[1]) > 0, rows * wide + 2 * columns + codes


def test_rounding_turns_the_planted_ties_and_nothing_else(tied: Tied) -> None:
    _, values = tied.autograd()
    _, mask, places = _captured(tied)
    before, wide = values[tied.names[0]], values[tied.names[2]].flatten(2)
    turned = mask != (before > 0)
    gaps = (wide.gather(2, values["places"].flatten(2)) - wide.gather(2, places.flatten(2))).abs()
    assert 0 < int(turned.sum()) <= 16
    assert (places != values["places"]).any()
    assert float(before.abs()[turned].max()) <= NEAR_TIE * float(before.abs().max())
    assert float(gaps.max()) <= NEAR_TIE * float(wide.abs().max())


def test_with_the_masks_and_switches_of_float64_the_walk_is_its_autograd(tied: Tied) -> None:
    theirs, values = tied.autograd()
    capture = foreign_capture(tied.subject.engine, tied.subject.feeds, tied.route(), values.__getitem__)
    # Rounded to float32 the ties would be decided again.
    exact = values[tied.names[2]].unflatten(3, (-1, 2))
    capture.switches[tied.pool] = (exact[..., 1] > exact[..., 0]).to(torch.uint8)
    close(tied.walked(capture), theirs)


def test_autograd_in_float64_with_the_captured_masks_and_switches_is_the_walk(tied: Tied) -> None:
    capture, mask, places = _captured(tied)
    ours = tied.walked(capture)
    close(ours, tied.autograd(mask, places)[0])
    free = tied.autograd()[0]
    assert np.abs(ours - free).max() > 1e-2 * np.abs(free).max(), "the ties make no difference here"
