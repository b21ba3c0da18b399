"""Amounts as people read them."""

import pytest

from bursary.lib.money import dollars


@pytest.mark.parametrize(
    ("cents", "text"),
    [
        (0, "$0.00"),
        (5, "$0.05"),
        (9900, "$99.00"),
        (123450, "$1,234.50"),
        (-50, "-$0.50"),
        (None, "unlimited"),
    ],
)
def test_cents_are_written_as_dollars(cents: int | None, text: str) -> None:
    assert dollars(cents) == text
