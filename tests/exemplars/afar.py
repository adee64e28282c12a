"""A process of its own that scans into a store that only fsspec knows: a folder behind a scheme, for want of a network.

``python -m tests.exemplars.afar MODELS PICTURES INDEX LAPSE`` prints how many records are done.
"""

import sys
import time
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from unpool.engine import EngineSettings
from unpool.exemplars import Roots, ScanHeader, ScanProgress, ScanRequest, Store, open_dataset, scan
from unpool.repository import Repository


class Afar(LocalFileSystem):
    """A local folder that does not say so."""

    protocol = "afar"

    def __init__(self) -> None:
        super().__init__(auto_mkdir=True)  # a store of objects has no folders to make

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("afar://")))


def register() -> None:
    """Makes the scheme ``afar`` known to fsspec."""
    fsspec.register_implementation("afar", Afar, clobber=True)


def main(models: str, pictures: str, index: str, lapse: str) -> None:
    """Scans shards of four, with a pause after each."""
    register()
    repository = Repository(Path(models), engine_settings=EngineSettings(device="cpu", threads=1))
    with repository.lend("small", 1) as entry:
        dataset = open_dataset(pictures, Roots(unrestricted=True))
        for item in scan(entry, dataset, ScanRequest(shard=4), Store(index, float(lapse))):
            if isinstance(item, ScanHeader | ScanProgress):
                print(item.done, flush=True)
                time.sleep(0.3)
    repository.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
