"""What a process of its own does with a shard."""

from contextlib import closing

from tests import zoo

from unpool.engine import EngineSettings
from unpool.exemplars import Roots, Scanner, Shard, open_dataset
from unpool.exemplars.partial import Partial
from unpool.exemplars.reduction import chosen_layers
from unpool.repository import Repository


def summary(model: str, pictures: str, shard: Shard) -> Partial:
    """The five strongest of the first three layers of a real model."""
    settings = EngineSettings(device="cpu", threads=1)
    with closing(Repository(zoo.path(model), engine_settings=settings)) as repository, repository.lend(model) as entry:
        dataset = open_dataset(pictures, Roots(unrestricted=True))
        scanner = Scanner(entry, dataset, chosen_layers(entry.engine, ())[:3], 5)
        return next(p for p in scanner.scan_shard(shard) if p is not None)
