"""Cents from upstream's dollars, which come as floats, as whole numbers and as text."""

import re
from decimal import ROUND_HALF_UP, Decimal

MAX_CENTS = 1_000_000_000  # ten million dollars: far above any course, far below what a bigint can sum

_ONE_CENT = Decimal("0.01")
_PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_LONGEST_NUMBER = 64  # characters


class NotAPrice(ValueError):
    """The message completes the sentence "content_price -199.0 …"."""


def cents(value: object) -> int:
    """Dollars to cents, 0 to `MAX_CENTS`, half a cent rounds up; raises `NotAPrice`.

    Exact: a float is read by its shortest spelling, so 149.1 is 14910. A thousands separator is refused, not
    guessed at: `1,299` is a different number in different countries. A price below half a cent is refused,
    because rounding would make it free.
    """
    dollars = _dollars(value)
    if dollars < 0:
        raise NotAPrice("is negative")
    if dollars * 100 > MAX_CENTS:
        raise NotAPrice("is more than any course costs")
    amount = int(dollars.quantize(_ONE_CENT, rounding=ROUND_HALF_UP).scaleb(2))
    if dollars > 0 and amount == 0:
        raise NotAPrice("is less than a cent")
    return amount


def _dollars(value: object) -> Decimal:
    if isinstance(value, bool):
        raise NotAPrice("is not a price")
    if isinstance(value, int):
        return Decimal(value)
    text = str(value).strip() if isinstance(value, str | float) else ""
    if len(text) > _LONGEST_NUMBER or not _PLAIN_NUMBER.fullmatch(text):
        raise NotAPrice("is not a price")
    return Decimal(text)
