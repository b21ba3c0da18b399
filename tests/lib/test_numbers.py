"""A whole number is read from plain digits, and from nothing else."""

import pytest

from bursary.lib import numbers


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("007", 7), ("12345", 12345)])
def test_a_text_of_digits_is_its_number(text: str, number: int) -> None:
    assert numbers.from_digits(text, max_digits=5) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 7",
        "7\n",
        "+7",
        "-7",
        "1_000",
        "7.0",
        "seven",
        "\N{ARABIC-INDIC DIGIT SEVEN}",
        "\N{SUPERSCRIPT TWO}",
        "123456",
        "9" * 5000,
    ],
)
def test_every_other_text_is_none(text: str) -> None:
    assert numbers.from_digits(text, max_digits=5) is None
