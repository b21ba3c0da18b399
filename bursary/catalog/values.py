"""Single values of a record, as types that pydantic validates: keys, text, dates, prices.

Each function reads one JSON value, and raises UnusableValue if it is unusable. The types read null as
unknown: "", None or an empty collection.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, TypeGuard
from uuid import UUID

from django.utils.dateparse import parse_datetime
from pydantic import PlainValidator

from bursary.lib.texts import storable

MAX_KEY = 255  # characters, as in upstream's column
MAX_SLUG = 64  # characters; upstream's longest has 22
MAX_COUNT = 32_767  # the maximum of a small integer column
MAX_CENTS = 1_000_000_000  # ten million dollars: far above any course, and sums fit into a bigint
MIN_YEAR = 1900
MAX_YEAR = 9998  # year 9999 overflows when shown in a time zone east of Greenwich
MAX_SPELLING = 64  # characters of a date or a price; the longest date that upstream serves has 27

_KEY = re.compile(rf"[^\s\x00-\x1f\x7f\ud800-\udfff]{{1,{MAX_KEY}}}")
_PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_ONE_CENT = Decimal("0.01")


class UnusableValue(ValueError):
    """The message completes the sentence "start_date 'TBD' …"."""


def is_key(value: object) -> TypeGuard[str]:
    """Return whether the value can identify content: 1 to 255 characters, none blank or unprintable.

    A key is never repaired, not even of a space at its end: two keys would become one.
    """
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


def key(value: object) -> str:
    """Read a content key."""
    if not is_key(value):
        raise UnusableValue("is not a key")
    return value


def text(value: object) -> str:
    """Read text of any length, without the characters that databases refuse."""
    if not isinstance(value, str):
        raise UnusableValue("is not text")
    return storable(value)


def slug(value: object) -> str:
    """Read a short name for machines, of at most `MAX_SLUG` characters."""
    name = text(value)
    if len(name) > MAX_SLUG:
        raise UnusableValue("is too long")
    return name


def count(value: object) -> int:
    """Read a whole number from 0 to `MAX_COUNT`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_COUNT:
        raise UnusableValue("is not a count")
    return value


def uuid(value: object) -> UUID:
    """Read a UUID in any of its spellings."""
    try:
        return UUID(value if isinstance(value, str) else "")
    except ValueError as exc:
        raise UnusableValue("is not a uuid") from exc


def instant(value: object) -> datetime:
    """Read an ISO 8601 text as an aware UTC datetime.

    Upstream serves `2026-03-01T00:00:00Z`, with a fraction only if it is not zero. Other ISO spellings are
    read as well: a space for the T, another offset, no offset (UTC), no time (midnight UTC). A number is
    refused, because seconds and milliseconds since 1970 cannot be distinguished. A year outside 1900 to 9998
    is refused, because not every database and time zone can represent it.
    """
    if not isinstance(value, str) or len(value) > MAX_SPELLING:
        raise UnusableValue("is not a date")
    outside = f"lies outside the years {MIN_YEAR} to {MAX_YEAR}"
    try:
        parsed = parse_datetime(value.strip())
        if parsed is None:
            raise UnusableValue("is not a date")
        moment = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except OverflowError as exc:
        raise UnusableValue(outside) from exc
    except ValueError as exc:
        raise UnusableValue("is not a date") from exc
    if not MIN_YEAR <= moment.year <= MAX_YEAR:
        raise UnusableValue(outside)
    return moment


def cents(value: object) -> int:
    """Read dollars as cents, 0 to `MAX_CENTS`; half a cent rounds up.

    A float is read exactly, by its shortest spelling: 149.1 is 14910. A thousands separator is refused,
    because `1,299` is a different number in different countries. A price below half a cent is refused,
    because rounding would make it free.
    """
    number = isinstance(value, str | float | int) and not isinstance(value, bool)
    if isinstance(value, int) and number:
        dollars = Decimal(value)
    else:
        spelling = str(value).strip() if number else ""
        if len(spelling) > MAX_SPELLING or not _PLAIN_NUMBER.fullmatch(spelling):
            raise UnusableValue("is not a price")
        dollars = Decimal(spelling)
    if dollars < 0:
        raise UnusableValue("is negative")
    if dollars * 100 > MAX_CENTS:
        raise UnusableValue("is more than any course costs")
    amount = int(dollars.quantize(_ONE_CENT, rounding=ROUND_HALF_UP).scaleb(2))
    if dollars > 0 and amount == 0:
        raise UnusableValue("is less than a cent")
    return amount


def _of_type(kind: type, complaint: str) -> Callable[[object], object]:
    def read(value: object) -> object:
        if not isinstance(value, kind):
            raise UnusableValue(complaint)
        return value

    return read


def _nullable(read: Callable[[object], Any], *, unknown: object = None) -> PlainValidator:
    return PlainValidator(lambda value: unknown if value is None else read(value))


Key = Annotated[str, _nullable(key, unknown="")]
Text = Annotated[str, _nullable(text, unknown="")]
Slug = Annotated[str, _nullable(slug, unknown="")]
Flag = Annotated[bool | None, _nullable(_of_type(bool, "is neither true nor false"))]
Count = Annotated[int | None, _nullable(count)]
Uuid = Annotated[UUID | None, _nullable(uuid)]
Instant = Annotated[datetime | None, _nullable(instant)]
Cents = Annotated[int | None, _nullable(cents)]
"""None is unknown; 0 is a 0 of upstream."""
JsonObject = Annotated[dict[str, Any] | None, _nullable(_of_type(dict, "is not an object"))]
JsonList = Annotated[Sequence[Any], _nullable(_of_type(list, "is not a list"), unknown=())]
