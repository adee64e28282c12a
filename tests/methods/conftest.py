"""Engines of a few real models, made when first asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest
from tests import zoo
from tests.engine.support import Subject


@pytest.fixture(scope="session")
def model() -> Iterator[Callable[[str], Subject]]:
    """Gives a model of the zoo, by its name, with the cat."""
    made: list[Subject] = []

    @functools.cache
    def give(name: str) -> Subject:
        made.append(Subject(name, zoo.path(name), zoo.tensor(name)))
        return made[-1]

    yield give
    for subject in made:
        subject.close()
