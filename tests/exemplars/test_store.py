"""What is committed stays, whatever happens to the disk."""

import errno
import os
from pathlib import Path

import pytest
from tests.exemplars.pictures import crops, folder

from unpool.exemplars import Roots, ScanHeader, ScanIndex, ScanProgress, ScanRequest, Store, open_dataset, scan
from unpool.graph.errors import ExhaustedError, PreconditionError
from unpool.repository import Entry


def test_a_full_disk_keeps_what_was_committed(small: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(str(folder(tmp_path / "pictures", crops(12, 40))), Roots(unrestricted=True))
    store, request = Store(str(tmp_path / "index")), ScanRequest(shard=4)
    items = scan(small, dataset, request, store)
    header = next(items)
    assert isinstance(header, ScanHeader)
    while not isinstance(next(items), ScanProgress):
        pass

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(PreconditionError, match=r"No space left.*what was committed stays"):
            list(items)
    index = ScanIndex(store, header.description)
    assert index.committed() == {0}
    assert index.shard(0).count == 4 - len(index.shard(0).skipped)
    assert not list((tmp_path / "index").rglob("*.part"))
    again = [item for item in scan(small, dataset, request, store) if isinstance(item, ScanHeader)]
    assert again[0].done == 4
    assert index.complete


def test_a_store_is_held_by_one(tmp_path: Path) -> None:
    for uri in (str(tmp_path / "local"), "memory://held"):
        with Store(uri).held("a"), pytest.raises(ExhaustedError, match="another scan"), Store(uri).held("a"):
            pass
        with Store(uri).held("a"):
            pass


def test_an_index_may_be_remote(small: Entry, tmp_path: Path) -> None:
    dataset = open_dataset(str(folder(tmp_path / "pictures", crops(6, 40))), Roots(unrestricted=True))
    answers = []
    for uri in (str(tmp_path / "index"), "memory://index"):
        items = list(scan(small, dataset, ScanRequest(), Store(uri)))
        header = next(item for item in items if isinstance(item, ScanHeader))
        answers.append(ScanIndex(Store(uri), header.description).exemplars("r2"))
    assert answers[0] == answers[1]
