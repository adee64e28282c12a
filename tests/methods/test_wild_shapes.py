"""Shapes that graphs of strangers have: tokens put one below the other, several lengths at once, empty tensors."""

import numpy as np
import pytest
import torch
from tests.graph.builders import labels, run, text_model
from tests.methods.small import asked, engine_of, feeds_of, pictured

from unpool.engine import Policy
from unpool.graph import load
from unpool.graph.errors import InvalidArgumentError
from unpool.methods import Mode, OcclusionRequest, OcclusionTile, ProjectionRequest, Target, occlude

RNG = np.random.default_rng(23)
K = RNG.normal(size=(6, 6)).astype(np.float32)


def tokens() -> bytes:
    """A Gemm on all tokens of all texts, one below the other, as torch.export writes an attention's last matrix."""
    return text_model(
        """agraph (float[batch,seq,6] x) => (float[batch,seq,6] y) {
            whole = Shape (x)
            zero = Constant <value = int64 {0}> ()
            one = Constant <value = int64 {1}> ()
            b = Gather (whole, zero)
            s = Gather (whole, one)
            rows = Mul (b, s)
            minus = Constant <value = int64[1] {-1}> ()
            six = Constant <value = int64[1] {6}> ()
            r = Reshape (rows, minus)
            flat = Concat <axis = 0> (r, six)
            row = Reshape (x, minus)
            below = Reshape (row, flat)
            g = Gemm (below, k)
            bb = Reshape (b, minus)
            ss = Reshape (s, minus)
            back = Concat <axis = 0> (bb, ss, six)
            straight = Reshape (g, back)
            t = Tanh (straight)
            y = Add (x, t)
        }""",
        {"k": K},
    )


def test_a_matrix_on_tokens_one_below_the_other_is_crossed() -> None:
    engine = engine_of(tokens())
    assert labels(engine.model, "g").split()[0] == "o", "rows are not images"
    assert labels(engine.model, "x") == "b o c"
    for length in (5, 7):
        x = RNG.normal(size=(1, length, 6)).astype(np.float32)
        request = ProjectionRequest("y", positions=((3,),), channels=(2,), policy=Policy.GRADIENT)
        header, (found,) = asked(engine, feeds_of(engine, x), request)
        leaf = torch.from_numpy(x).requires_grad_()
        (leaf + torch.tanh(leaf @ torch.from_numpy(K)))[0, 3, 2].backward()
        assert leaf.grad is not None
        assert header.sink_channels == leaf.shape[2], "matrices make the input's last axis channels"
        np.testing.assert_allclose(found.signal, leaf.grad[0].numpy().T, rtol=1e-4, atol=1e-6)


def molecule() -> bytes:
    """Atoms and residues: each residue reads its atoms."""
    return text_model(
        """agraph (float[atoms,6] place, float[atoms,6] kind, int64[residues,3] members, float[residues,6] own)
            => (float[residues,6] y)
        {
            both = Mul (place, kind)
            of = MatMul (both, k)
            seen = Gather (of, members)
            axis = Constant <value = int64[1] {1}> ()
            sum = ReduceSum <keepdims = 0> (seen, axis)
            all = Add (sum, own)
            y = Sigmoid (all)
        }""",
        {"k": K},
    )


def test_inputs_of_several_lengths_are_told_apart_by_their_names() -> None:
    source = molecule()
    model = load(source)
    assert [labels(model, name).split()[0] for name in ("place", "kind", "members", "own")] == ["o", "o", "b", "b"]
    engine = engine_of(source)
    place, kind = RNG.normal(size=(2, 9, 6)).astype(np.float32)
    members, own = RNG.integers(0, 9, (1, 3)), RNG.normal(size=(1, 6)).astype(np.float32)
    feeds = feeds_of(engine, place, kind, members, own)
    expected = run(source, dict(feeds.arrays))[0]
    np.testing.assert_allclose(engine.run(feeds)["y"], expected, rtol=1e-5)
    _, (found,) = asked(engine, feeds, ProjectionRequest("y", channels=(4,), policy=Policy.GRADIENT))
    leaf = torch.from_numpy(place).requires_grad_()
    inside = ((leaf * torch.from_numpy(kind)) @ torch.from_numpy(K))[torch.from_numpy(members)].sum(1)
    torch.sigmoid(inside + torch.from_numpy(own))[0, 4].backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(
        found.signal, leaf.grad.numpy().T, rtol=1e-4, atol=1e-6
    )  # channels, which come last, first


def test_two_residues_are_two_images_whatever_input_is_looked_at() -> None:
    engine = engine_of(molecule())
    place, kind = RNG.normal(size=(2, 9, 6)).astype(np.float32)
    members, own = RNG.integers(0, 9, (2, 3)), RNG.normal(size=(2, 6)).astype(np.float32)
    with pytest.raises(InvalidArgumentError, match="one image at a time, not 2"):
        asked(engine, feeds_of(engine, place, kind, members, own), ProjectionRequest("y", top=1))


@pytest.mark.parametrize("policy", Policy)
def test_nothing_is_joined_to_something(policy: Policy) -> None:
    # A pad of no rows, as an exporter writes one that its settings made empty.
    source = text_model(
        """agraph (float[1,2,8] x) => (float[1,2,8] y) {
            none = ConstantOfShape (extents)
            half = Mul (none, two)
            c = Conv <pads = [1, 1]> (x, k)
            part = Slice (c, zero, zero, axis)
            y = Concat <axis = 2> (half, c, part)
        }""",
        {
            "extents": np.array([1, 2, 0]),
            "two": np.float32(2),
            "k": K.reshape(6, 6)[:2, :6].reshape(2, 2, 3),
            "zero": np.array([0]),
            "axis": np.array([2]),
        },
    )
    engine = engine_of(source)
    x = RNG.normal(size=(1, 2, 8)).astype(np.float32)
    header, (found,) = asked(engine, feeds_of(engine, x), ProjectionRequest("y", channels=(1,), policy=policy))
    leaf = torch.from_numpy(x).requires_grad_()
    maps = torch.nn.functional.conv1d(leaf, torch.from_numpy(K[:2, :6].reshape(2, 2, 3)), padding=1)
    (maps[0, 1, found.position[0]] * found.start).backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(pictured(found, header), leaf.grad[0].numpy(), rtol=1e-4, atol=1e-5)
    for mode in (Mode.AUTO, Mode.BOXES):
        request = OcclusionRequest((2,), (3,), targets=(Target.element(1, 4, output="y"),), mode=mode)
        scores = np.full(3, np.nan)
        for item in occlude(engine, feeds_of(engine, x), request):
            if isinstance(item, OcclusionTile):
                scores[item.numbers] = item.scores[0]
        expected = []
        for begin in range(0, 7, 3):
            hidden = x.copy()
            hidden[..., begin : begin + 2] = 0
            expected.append(run(source, {"x": hidden})[0][0, 1, 4])
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
