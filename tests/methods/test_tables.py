"""Rows of a table, whose features windows slide over; and states of no length."""

import numpy as np
import pytest
from tests.graph.builders import text_model
from tests.methods.small import asked, engine_of, feeds_of, occluded

from unpool.engine import Feeds, Policy
from unpool.graph.errors import InvalidArgumentError
from unpool.methods import Mode, OcclusionRequest, ProjectionRequest

RNG = np.random.default_rng(2)


def rows() -> bytes:
    weights = {"w": RNG.normal(size=(6, 4)).astype(np.float32)}
    return text_model("g (float[N,6] x) => (float[N,4] y) { z = MatMul(x, w) y = Sigmoid(z) }", weights)


@pytest.mark.parametrize("mode", list(Mode))
def test_hiding_features_equals_whole_runs(mode: Mode) -> None:
    engine = engine_of(rows())
    x = RNG.normal(size=(1, 6)).astype(np.float32)
    header, scores, _ = occluded(engine, feeds_of(engine, x), OcclusionRequest((2,), (1,), top=1, mode=mode))
    assert (header.plane, header.shape) == ((6,), (5,))
    (target,) = header.targets
    for first in range(5):
        hidden = x.copy()
        hidden[:, first : first + 2] = 0
        whole = engine.run(feeds_of(engine, hidden))["y"][0]
        assert scores[0, first] == pytest.approx(whole[target.target.lower[0]], rel=1e-5)


def test_an_input_of_one_number_for_each_image_has_nothing_to_slide_over() -> None:
    engine = engine_of(text_model("g (float[N] x) => (float[N] y) { y = Sigmoid(x) }"))
    with pytest.raises(InvalidArgumentError, match="no axis beside the batch"):
        occluded(engine, feeds_of(engine, np.ones(1, np.float32)), OcclusionRequest((1,)))


def test_a_state_may_be_of_no_length_but_not_what_is_looked_at() -> None:
    """As a language model remembers nothing in front of the first word."""
    data = text_model(
        """g (float[N,T,4] x, float[N,P,4] past) => (float[N,S,4] y) {
            all = Concat<axis=1>(past, x)
            y = Mul(all, all)
        }"""
    )
    engine = engine_of(data)
    x, nothing = RNG.normal(size=(1, 3, 4)).astype(np.float32), np.zeros((1, 0, 4), np.float32)
    _, (found,) = asked(engine, feeds_of(engine, x, nothing), ProjectionRequest("y", top=1, policy=Policy.GRADIENT))
    strongest = x.reshape(-1)[np.argmax(x**2)]
    assert found.activation == pytest.approx(strongest**2)
    assert found.signal.sum() == pytest.approx(2 * strongest)
    with pytest.raises(InvalidArgumentError, match=r"takes shape .*, not \(1, 0, 4\)"):
        engine.check(Feeds({"x": x, "past": nothing}, "past"))
    with pytest.raises(InvalidArgumentError, match=r"takes shape .*, not \(0, 3, 4\)"):
        engine.check(Feeds({"x": x, "past": np.zeros((0, 3, 4), np.float32)}, "x"))
