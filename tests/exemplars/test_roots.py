"""Remote roots: only what lies below them, in one scheme and host."""

import pytest

from unpool.exemplars import Roots
from unpool.graph.errors import InvalidArgumentError

ROOTS = Roots.of(["s3://bucket/data", "https://host:8443/sets/"])


@pytest.mark.parametrize("uri", ["s3://bucket/data", "s3://bucket/data/a/b.parquet", "https://host:8443/sets/x"])
def test_what_lies_below_a_root_is_read(uri: str) -> None:
    assert ROOTS.check(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/database",
        "s3://bucket/data/../other",
        "s3://bucket/data/%2e%2e/other",
        "s3://bucket/data/%252e%252e/other",
        "s3://other/data/a",
        "gs://bucket/data/a",
        "https://host/sets/x",
        "https://user@host:8443/sets/x",
        "https://host:8443/sets/x?to=elsewhere",
        "simplecache::s3://bucket/data/a",
        "zip://a::s3://bucket/data/b.zip",
        "/bucket/data",
        "file:///bucket/data",
        "data",
        "",
        "a\0b",
    ],
)
def test_nothing_else_is(uri: str) -> None:
    with pytest.raises(InvalidArgumentError):
        ROOTS.check(uri)


def test_a_root_that_is_not_there_is_refused_at_start() -> None:
    with pytest.raises(InvalidArgumentError, match="there is no folder"):
        Roots.of(["/nowhere/at/all"])
