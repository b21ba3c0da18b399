"""Template filters for instants in a given time zone."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

from django import template
from django.utils.formats import date_format

from bursary.lib import moments

register = template.Library()


@register.filter
def moment(instant: datetime | None, zone: ZoneInfo) -> str:
    """Return the instant in `zone` with the zone's name; empty for none."""
    return moments.in_words(instant, zone=zone) if instant else ""


@register.filter
def zone_in_words(zone: ZoneInfo) -> str:
    """Return the zone's name for people."""
    return moments.zone_in_words(zone)


@register.filter
def weekday(instant: datetime | None, zone: ZoneInfo) -> str:
    """Return the day of the instant in `zone` in the form for sentences; empty for none."""
    return moments.day_in_words(instant, zone=zone) if instant else ""


@register.filter
def clock(instant: datetime, zone: ZoneInfo) -> str:
    """Return the time of day of the instant in `zone`."""
    return date_format(instant.astimezone(zone), "H:i")


@register.filter
def day(instant: datetime | None, zone: ZoneInfo) -> str:
    """Return the day of the instant in `zone` in the reader's short form; empty for none."""
    return moments.dated(instant.astimezone(zone)) if instant else ""


@register.filter(expects_localtime=True)
def dated(day: date | None, form: str = "DATE_FORMAT") -> str:
    """Return a date, or that of an instant in the page's time zone, in a format of Django; empty for none."""
    return moments.dated(day, form=form) if day else ""
