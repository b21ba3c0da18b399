"""Whole numbers in texts that people and programs send."""


def from_digits(text: str, *, max_digits: int) -> int | None:
    """Return the number that a text of 1 to `max_digits` digits stands for; None for every other text.

    `int` accepts more: signs, spaces, underscores and the digits of other scripts. Beyond 4,300 digits it
    raises.
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= max_digits else None
