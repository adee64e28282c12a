"""One model at a time, over all engine tests: pytest orders the tests so that each is loaded once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests import zoo
from tests.engine.support import Subject

_LARGE = {"vgg19", "imagenet_vgg16", "hed_vgg16"}


@pytest.fixture(
    scope="session", params=[pytest.param(n, marks=[pytest.mark.slow] if n in _LARGE else []) for n in zoo.names()]
)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Each of the twelve models, with the cat."""
    name: str = request.param
    found = Subject(name, zoo.path(name), zoo.tensor(name))
    yield found
    found.close()
