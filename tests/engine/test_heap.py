"""Large blocks leave no holes, and what convolutions remember of shapes is bounded."""

import ctypes
import os
import subprocess
import sys

import pytest

from unpool.engine import heap

_GLIBC = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


_HOLES = """
import numpy as np
import psutil
from unpool.engine import heap

with heap.large_blocks_apart():
    blocks = [np.ones(40_000) for _ in range(400)]  # 312 KiB each, 122 MiB in all
    before = psutil.Process().memory_info().rss
    for i in range(0, len(blocks), 2):
        blocks[i] = None
    print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(not _GLIBC, reason="needs glibc")
def test_large_blocks_between_blocks_in_use_are_given_back_when_freed() -> None:
    # In a process of its own: a heap with room from earlier work takes blocks of any size.
    given = int(subprocess.run([sys.executable, "-c", _HOLES], capture_output=True, text=True, check=True).stdout)
    assert given > 55 << 20, f"{given >> 20} MiB of 61"


_SHAPES = """
import ctypes, sys
import torch
from unpool.engine import heap

class Info(ctypes.Structure):
    _fields_ = [(n, ctypes.c_size_t) for n in "arena ordblks smblks hblks hblkhd usmblks fsmblks used free top".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
heap.bound_caches()
torch.set_num_threads(1)
weight = torch.ones(16, 16, 3, 3).contiguous(memory_format=torch.channels_last)

def convolve(first, last):
    for units in range(first, last):
        x = torch.ones(units, 16, 5, 5).contiguous(memory_format=torch.channels_last)
        torch.nn.functional.conv2d(x, weight)

convolve(1, 201)
before = libc.mallinfo2().used
convolve(201, 601)
print(libc.mallinfo2().used - before)
"""


@pytest.mark.skipif(not (_GLIBC and hasattr(ctypes.CDLL(None), "mallinfo2")), reason="needs glibc")
def test_convolutions_of_many_shapes_do_not_grow_the_heap() -> None:
    free = {k: v for k, v in os.environ.items() if k not in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")}
    out = subprocess.run([sys.executable, "-c", _SHAPES], env=free, capture_output=True, text=True, check=True)
    # Unbounded it is 20 MiB.
    assert int(out.stdout) < 1 << 20


def test_a_cache_that_a_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    heap.bound_caches()
    assert os.environ["LRU_CACHE_CAPACITY"] == "7"
