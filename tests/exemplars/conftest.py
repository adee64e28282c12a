from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests import zoo
from tests.service.small import network, put, recipe

from unpool.engine import EngineSettings
from unpool.repository import Entry, Repository

Open = Callable[[str], Entry]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Lends real models by name, with a repository each."""
    with ExitStack() as stack:

        def give(name: str) -> Entry:
            repository = Repository(zoo.path(name), engine_settings=EngineSettings(device="cpu", threads=2))
            stack.callback(repository.close)
            return stack.enter_context(repository.lend(name))

        yield give


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with two versions of a small network."""
    root = tmp_path / "models"
    for version in (1, 2):
        found = put(root, "small", network(version), version)
    (found / "preprocessor_config.json").write_text(recipe(size={"height": 32, "width": 32}, rescale_factor=1 / 127))
    return root


@pytest.fixture
def small(models: Path) -> Iterator[Entry]:
    repository = Repository(models, engine_settings=EngineSettings(device="cpu", threads=1))
    with repository.lend("small", 1) as entry:
        yield entry
    repository.close()
