"""Kinds of filters of a list: what a text in the query may be, and what it means."""

from typing import Any

import django_filters
from django.core.exceptions import ValidationError
from django.core.validators import EMPTY_VALUES
from django.forms import IntegerField, NullBooleanField, Select
from django.utils.translation import gettext as _

from bursary.lib import moments
from bursary.lib.moments import UTC_ZONE, MomentField

LONGEST_TEXT = 255  # characters
LARGEST_NUMBER = 2**63 - 1


class MomentFilter(django_filters.IsoDateTimeFilter):
    """A date, or a date and time; in the time zone of its filter set where it names none."""

    field_class = MomentField

    @property
    def field(self) -> Any:
        """The form field: a date alone is its last second for an upper bound, else its first."""
        zone = getattr(getattr(self, "parent", None), "zone", UTC_ZONE)
        self.extra |= {"zone": zone, "end_of_day": self.lookup_expr == "lte"}
        return super().field


class DayField(MomentField):
    """The first and the last instant that a text means: of a date alone, of that day."""

    def clean(self, value: Any) -> Any:
        """Return both; None for no text. Raises ValidationError."""
        first = super().clean(value)
        return first and (first, moments.parse(value, zone=self.zone, end_of_day=True))


class DayFilter(MomentFilter):
    """A date, for any time of that day, or a date and time."""

    field_class = DayField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"lookup_expr": "range"})


class TextFilter(django_filters.CharFilter):
    """A text no longer than the columns that are searched."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, max_length=LONGEST_TEXT, **kwargs)


class NumberFilter(django_filters.Filter):
    """A whole number that a database can hold."""

    field_class = IntegerField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, min_value=-LARGEST_NUMBER, max_value=LARGEST_NUMBER, **kwargs)


class FlagTextField(NullBooleanField):
    """True, false or nothing; another text is refused, not passed over."""

    def clean(self, value: Any) -> bool | None:
        """Return it; None for no text. Raises ValidationError."""
        found: bool | None = super().clean(value.lower() if isinstance(value, str) else value)
        if found is None and value not in EMPTY_VALUES:
            raise ValidationError(_("Give true or false."))
        return found


class FlagFilter(django_filters.BooleanFilter):
    """`true` or `false`, or `1` or `0`."""

    field_class = FlagTextField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        choices = [("", "—"), ("true", "true"), ("false", "false")]
        super().__init__(*args, widget=Select(choices=choices), **kwargs)


class ChoicesFilter(django_filters.BaseInFilter, django_filters.ChoiceFilter):
    """Any of a comma-separated list of choices."""


class TextsFilter(django_filters.BaseInFilter, TextFilter):
    """Any of a comma-separated list of texts."""


class NumbersFilter(django_filters.BaseInFilter, NumberFilter):
    """Any of a comma-separated list of numbers."""
