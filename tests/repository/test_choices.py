"""Choices at near-ties, which ONNX Runtime and torch may make differently, are no difference; others are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tests.graph.builders import text_model

from unpool.engine import Engine, EngineSettings
from unpool.graph import load
from unpool.graph.model import Node
from unpool.repository.admission import parity
from unpool.repository.admission.choices import NOISE, Choices

RNG = np.random.default_rng(3)
# As a detector lists its candidates: the strongest of very many scores, each with the box that stands for its place.
LISTING = text_model(
    """g (float[1, 32, 96, 96] x) => (float[6000] y, float[6000] z) {
        maps = Conv (x, w)
        scores = Reshape (maps, row)
        z, places = TopK (scores, most)
        y = Gather (boxes, places)
    }""",
    {
        "w": RNG.normal(size=(1, 32, 3, 3)).astype(np.float32),
        "row": np.array([-1]),
        "most": np.array([6000]),
        "boxes": RNG.normal(size=94 * 94).astype(np.float32),
    },
)


def test_a_long_list_in_another_order_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(load(LISTING), EngineSettings(device="cpu", threads=1))
    found = parity.compare(engine)
    assert found.holds
    assert [o.difference < 1e-5 for o in found.outputs] == [True, True]
    # Without, the boxes of two neighbours in the list are exchanged, if only the runtimes add up in another order.
    monkeypatch.setattr(parity, "chosen", lambda graph: frozenset())
    engine_again = Engine(load(LISTING), EngineSettings(device="cpu", threads=1))
    assert not parity.compare(engine_again).holds


X = torch.tensor([[0.5, 2.0, 2.0 + NOISE, -1.0, 7.0]])
A, B = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 1.0 + NOISE, 2.0])
STEPS = torch.tensor([0.2, 1.0 - NOISE / 10, 3.4])
HALVES = torch.tensor([0.2, 1.5 - NOISE / 10, 3.4])
_CASES: dict[str, tuple[Mapping[str, Any], Sequence[torch.Tensor], Sequence[Any], Sequence[Any], bool]] = {
    "TopK: neighbours as strong": ({}, [X], [[4, 2, 1]], [[4, 1, 2]], True),
    "TopK: the last as strong": ({}, [X], [[4, 2]], [[4, 1]], True),
    "TopK: a weaker one": ({}, [X], [[4, 2]], [[4, 0]], False),
    "TopK: one twice": ({}, [X], [[4, 2, 1]], [[4, 2, 2]], False),
    "TopK: outside": ({}, [X], [[4, 2]], [[4, 5]], False),
    "ArgMax: as strong": ({"axis": 1}, [X[:, :3]], [[2]], [[1]], True),
    "ArgMax: as strong, no axis kept": ({"axis": 1, "keepdims": 0}, [X[:, :3]], [2], [1], True),
    "ArgMax: weaker": ({"axis": 1}, [X], [[4]], [[1]], False),
    "ArgMin: weaker": ({"axis": 1}, [X], [[3]], [[0]], False),
    "Greater: on the threshold": ({}, [A, B], [False, False, False], [False, True, False], True),
    "Greater: off it": ({}, [A, B], [False, False, False], [True, False, False], False),
    "Greater: two of three on it": ({}, [A, B], [False, False, False], [False, True, True], False),
    "Equal: whole numbers": ({}, [torch.tensor([99999]), torch.tensor([100000])], [False], [True], False),
    "Less: by a number": ({}, [A, torch.tensor(1.0)], [True, False, False], [True, True, False], True),
    "Equal: off": ({}, [A, B], [False, False, True], [True, False, True], False),
    "Floor: at a step": ({}, [STEPS], [0.0, 0.0, 3.0], [0.0, 1.0, 3.0], True),
    "Ceil: between": ({}, [STEPS], [1.0, 1.0, 4.0], [0.0, 1.0, 4.0], False),
    "Cast: at a step": ({}, [STEPS], [0, 0, 3], [0, 1, 3], True),
    "Cast: two steps": ({}, [STEPS], [0, 0, 3], [0, 2, 3], False),
    "Round: at a half": ({}, [HALVES], [0.0, 1.0, 3.0], [0.0, 2.0, 3.0], True),
    "Round: elsewhere": ({}, [HALVES], [0.0, 1.0, 3.0], [1.0, 1.0, 3.0], False),
    "another shape": ({}, [A, B], [False, False, False], [False, True], False),
}


@pytest.mark.parametrize("case", _CASES)
def test_only_what_lies_as_near_as_noise_is_taken_over(case: str) -> None:
    attributes, inputs, ours, theirs, taken = _CASES[case]
    op_type = case.partition(":")[0].replace("another shape", "Greater")
    ranks = op_type == "TopK"
    outputs = ("values", "chosen") if ranks else ("chosen",)
    node = Node("n", "", op_type, 13, ("a", "b")[: len(inputs)], outputs, attributes)
    mine, other = torch.tensor(ours), np.array(theirs)
    results = (inputs[0].gather(1, mine), mine) if ranks else (mine,)
    settled = Choices({"chosen": other}).settle(node, inputs, results)
    expected = torch.tensor(theirs) if taken else mine
    assert settled[-1].dtype == mine.dtype
    assert torch.equal(settled[-1], expected)
    if ranks:
        assert torch.equal(settled[0], inputs[0].gather(1, expected))


def test_nothing_of_a_list_is_flattened() -> None:
    engine = Engine(
        load(
            text_model(
                """g (float[1, 2, 8, 8] x) => (float[n, m] y) {
                    strong = Greater (x, most)
                    places0 = NonZero (strong)
                    places = Transpose <perm = [1, 0]> (places0)
                    found = Cast <to = 1> (places)
                    y = Flatten (found)
                }""",
                {"most": np.array(100, np.float32)},
            )
        ),
        EngineSettings(device="cpu", threads=1),
    )
    found = parity.compare(engine)
    assert found.holds
    assert found.borrowed == ()
