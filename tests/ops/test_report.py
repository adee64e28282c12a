"""The page about operators says what the registry has."""

from __future__ import annotations

from tests.ops.report import PAGE, families, identity


def test_the_page_lists_the_registry() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    said = {" | ".join(row.split(" | ")[:4]) + " |" for row in rows}
    assert said == {identity(operators) for operators in families().values()}, "run 'make operators'"
