"""One model at a time, over all engine tests: pytest orders the tests so that each is loaded once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests import zoo
from tests.engine.support import Subject


@pytest.fixture(scope="session", params=zoo.names())
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Each of the twelve models, with the cat."""
    name: str = request.param
    found = Subject(name, zoo.path(name), zoo.tensor(name))
    yield found
    found.close()
