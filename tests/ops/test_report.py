"""The page about operators says what the registry has and what the matrix gives."""

from __future__ import annotations

from tests.ops.report import PAGE, measure, render


def test_the_page_is_what_the_matrix_gives() -> None:
    page = render(*measure())
    assert "not explained" not in page
    assert PAGE.read_text() == page, "run 'make operators'"
