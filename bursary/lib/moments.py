"""Instants as people write and read them in a time zone: the one parser, and their form in sentences."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import ValidationError
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.timesince import timesince
from django.utils.translation import get_language_bidi, gettext, ngettext, pgettext

FIRST_YEAR, LAST_YEAR = 1900, 8999
FAR_FUTURE = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)
"""Stands for 'no date', so that every engine sorts alike; not the last day, as databases are narrower."""
MICROSECOND = timedelta(microseconds=1)
"""The least by which stored dates differ."""
MAX_DAYS = 60
"""A longer span is in months."""
UTC_ZONE = ZoneInfo("UTC")
_LAST_SECOND = time(23, 59, 59, fold=1)
"""The later one, where clocks are set back at midnight and the day's last hour comes twice."""


class MomentUnreadable(ValueError):
    """A text is not a date, nor a date and time, between 1900 and 8999; the message lists the formats."""


def parse(text: str, *, zone: ZoneInfo, end_of_day: bool) -> datetime:
    """Return the instant that an ISO 8601 text means, in UTC.

    A date without a time is the beginning of that day, or with `end_of_day` its last second. Without a zone
    of its own it is meant in `zone`. Raises MomentUnreadable.
    """
    text = text.strip()
    try:
        moment = _moment(text, end_of_day=end_of_day)
        local = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        instant = local.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        sentence = gettext(
            "Give a date (2027-06-30), a date and time (2027-06-30T17:00), or one with its time zone "
            "(2027-06-30T17:00+02:00); without a zone it is meant in %(zone)s."
        )
        raise MomentUnreadable(sentence % {"zone": zone.key}) from error
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        sentence = gettext("Give a date between the years %(first)d and %(last)d.")
        raise MomentUnreadable(sentence % {"first": FIRST_YEAR, "last": LAST_YEAR})
    return instant


def end_of(day: date, *, zone: ZoneInfo) -> datetime:
    """Return the last second of a day in `zone`, in UTC."""
    return datetime.combine(day, _LAST_SECOND, tzinfo=zone).astimezone(UTC)


def iso(moment: datetime, *, zone: ZoneInfo) -> str:
    """Return the instant in ISO 8601, in `zone` and with its offset."""
    return moment.astimezone(zone).isoformat()


def dated(moment: date, *, form: str = "DATE_FORMAT") -> str:
    """Return a date in one of Django's forms; from right to left, in the direction of its own letters.

    Without this, an untranslated month in an Arabic sentence would put the day behind the year.
    """
    return _isolated(date_format(moment, form))


def in_words(moment: datetime, *, zone: ZoneInfo) -> str:
    """Return the instant in `zone`, to the minute, with the zone's name."""
    # Translators: the format of a date with its time, in the letters of Django's `date` filter.
    local = date_format(moment.astimezone(zone), pgettext("format of a date and time", "l, j F Y, H:i"))
    return _isolated(f"{local} ({zone_in_words(zone)})")


def day_in_words(moment: datetime, *, zone: ZoneInfo) -> str:
    """Return the day of the instant in `zone`, for mails that name no time."""
    # Translators: the format of a day, in the letters of Django's `date` filter.
    return dated(moment.astimezone(zone), form=pgettext("format of a day", "l, j F Y"))


def span_in_words(start: datetime, end: datetime) -> str:
    """Return how long it is from `start` to `end`: in days, rounded, up to `MAX_DAYS`, then in two units."""
    days = round((end - start) / timedelta(days=1))
    if 2 <= days <= MAX_DAYS:
        return ngettext("%(days)d day", "%(days)d days", days) % {"days": days}
    return timesince(start, end, depth=2 if days > MAX_DAYS else 1)


def zone_in_words(zone: ZoneInfo) -> str:
    """Return the zone's name for people, such as Madrid time."""
    city = zone.key.split("/")[-1].replace("_", " ")
    return "UTC" if city == "UTC" else gettext("%(city)s time") % {"city": city}


class MomentField(forms.Field):
    """A form field for an instant, parsed by `parse`; its widget may have an input each for date and time."""

    def __init__(
        self,
        *,
        zone: ZoneInfo = UTC_ZONE,
        end_of_day: bool = False,
        input_formats: object = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.zone, self.end_of_day = zone, end_of_day

    def to_python(self, value: Any) -> datetime | None:
        """Return the instant; None for no text. Raises ValidationError."""
        text = " ".join(part for part in value if part) if isinstance(value, list) else str(value or "")
        if not text.strip():
            return None
        try:
            return parse(text, zone=self.zone, end_of_day=self.end_of_day)
        except MomentUnreadable as unreadable:
            raise ValidationError(str(unreadable)) from unreadable


def _isolated(text: str) -> str:
    return f"\u2068{text}\u2069" if get_language_bidi() else text


def _moment(text: str, *, end_of_day: bool) -> datetime:
    """Return what the text says, without a zone if it names none. Raises ValueError."""
    try:
        return datetime.combine(date.fromisoformat(text), _LAST_SECOND if end_of_day else time())
    except ValueError:
        moment = parse_datetime(text)
    # Python takes any sign for the T: of `2027-06-30+02:00` it makes two o'clock.
    if moment is None or not re.search("[T ]", text):
        raise ValueError
    return moment
