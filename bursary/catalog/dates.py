"""One instant from any of upstream's spellings: always aware, always UTC."""

from datetime import UTC, datetime

from django.utils.dateparse import parse_datetime

EARLIEST_YEAR = 1900
LATEST_YEAR = 9998  # year 9999 overflows as soon as anybody shows it in a time zone east of Greenwich
LONGEST_SPELLING = 64  # characters; the longest that upstream serves has 27


class NotADate(ValueError):
    """The message completes the sentence "start_date 'TBD' …"."""


def instant(value: object) -> datetime:
    """Read an ISO 8601 text as an aware UTC datetime; raises `NotADate`.

    Upstream serves `2026-03-01T00:00:00Z`, with a fraction only where it is not zero. Other ISO spellings are
    read as well: a space for the T, another offset, no offset (UTC), no time (midnight UTC). A number is
    refused, because seconds and milliseconds since 1970 look alike; so is a year outside 1900 to 9998, which
    not every database, nor every time zone, could hold.
    """
    if not isinstance(value, str) or len(value) > LONGEST_SPELLING:
        raise NotADate("is not a date")
    try:
        parsed = parse_datetime(value.strip())
        if parsed is None:
            raise NotADate("is not a date")
        moment = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except OverflowError as exc:
        raise NotADate(_OUTSIDE) from exc
    except ValueError as exc:
        raise NotADate("is not a date") from exc
    if not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
        raise NotADate(_OUTSIDE)
    return moment


_OUTSIDE = f"lies outside the years {EARLIEST_YEAR} to {LATEST_YEAR}"
