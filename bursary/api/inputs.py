"""Request bodies: their shapes, units and limits."""

import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import IO, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from drf_spectacular.utils import OpenApiExample, extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from bursary.assignments.allocation import LONGEST_MESSAGE
from bursary.assignments.choices import ActionType
from bursary.assignments.failures import LONGEST_REASON
from bursary.assignments.matching import MAX_ADDRESSES
from bursary.budgets.models import LONGEST_AGE_DAYS
from bursary.lib import moments

MAX_PRICE_CENTS = 10**13
NEARLY_WHOLE = 0.001  # cents: clients multiply dollars by 100 in binary floats, 19.99 → 1998.9999999999998

_NAMED = {"assignment_uuids": ["b1c7f0de-6f3e-4f0e-8a53-2f2f7f1a9d10"]}
_NOT_FINITE = re.compile("NaN|-?Infinity")  # Python reads and writes them as numbers
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: valid in JSON, but no UTF-8 repeats it


def validated(
    shape: type[serializers.Serializer[Any]], data: object, *, zone: ZoneInfo = moments.UTC_ZONE
) -> dict[str, Any]:
    """Return the values of a body or a query string, parsed by `shape`. Raises ValidationError.

    Dates without a time zone are in `zone`.
    """
    if not isinstance(data, Mapping):
        raise serializers.ValidationError("The body is not a JSON object.")
    parsed = shape(data=data, context={"zone": zone})
    parsed.is_valid(raise_exception=True)
    return {**parsed.validated_data}


class BoundedJSONParser(JSONParser):
    """Parses JSON, and refuses deep nesting. Django limits the size."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the decoded body. Raises ParseError if it is not JSON.

        Raises ValidationError if it is, and is nested too deeply or has a number that is too long.
        """
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError as error:
            raise serializers.ValidationError("The body is nested too deeply.") from error
        except ParseError as error:
            raise _unreadable(error) from error


def _unreadable(error: ParseError) -> ParseError | serializers.ValidationError:
    """Return the refusal of a body that the framework cannot parse, with the position where that is known."""
    match error.__context__:
        case json.JSONDecodeError() as why if why.doc.startswith("\ufeff"):
            return ParseError("The body is not JSON: it begins with a byte order mark (U+FEFF).")
        case json.JSONDecodeError() as why:
            expected = re.sub("( starting)? at$|[: ]+$", "", why.msg)
            return ParseError(f"The body is not JSON. Line {why.lineno}, column {why.colno}: {expected}.")
        case UnicodeDecodeError() as why:
            return ParseError(
                f"The body is not JSON. Byte {why.start + 1}: it is not {why.encoding.upper()}."
            )
        case ValueError() as why if constant := _NOT_FINITE.search(str(why)):
            return ParseError(f"The body is not JSON: {constant[0]} is not a number in JSON.")
        case ValueError():
            most = sys.get_int_max_str_digits()
            return serializers.ValidationError(f"The body has a number of more than {most:,} digits.")
        case _:
            return error


@extend_schema_field({"type": "number", "minimum": 0, "maximum": MAX_PRICE_CENTS})
class CentsField(serializers.Field[int, Any, int, Any]):
    """A price in whole US cents, as an integer or as the float that JavaScript clients send."""

    default_error_messages = {
        "invalid": "A price is a number of cents.",
        "fraction": "A price is a whole number of cents.",
        "range": f"A price lies between 0 and {MAX_PRICE_CENTS} cents.",
    }

    def to_internal_value(self, data: Any) -> int:
        """Return whole cents; round a float within `NEARLY_WHOLE` of them."""
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        if isinstance(data, float) and not math.isfinite(data):
            self.fail("invalid")
        if not 0 <= data <= MAX_PRICE_CENTS:
            self.fail("range")
        cents = round(data)
        if abs(data - cents) > NEARLY_WHOLE:
            self.fail("fraction")
        return cents

    def to_representation(self, value: int) -> int:
        """Return the cents."""
        return value


class TextField(serializers.CharField):
    """Text. It refuses numbers, which DRF would convert to text."""

    def to_internal_value(self, data: Any) -> str:
        """Return the text. Raises ValidationError for anything else."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class PatternField(TextField, serializers.RegexField):
    """Text that matches a pattern."""


class UuidField(serializers.UUIDField):
    """A uuid as text. It refuses numbers, which DRF would convert to a uuid."""

    def to_internal_value(self, data: Any) -> UUID:
        """Return the uuid. Raises ValidationError for anything else."""
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class FlagField(serializers.BooleanField):
    """True or false in a JSON body. In a query string, which has text, use `BooleanField`."""

    def to_internal_value(self, data: Any) -> bool:
        """Return the boolean. Raises ValidationError for anything else, such as 1 or "yes"."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class NumberField(serializers.IntegerField):
    """A whole number in a JSON body. In a query string, which has text, use `IntegerField`."""

    def to_internal_value(self, data: Any) -> int:
        """Return the number. Raises ValidationError for anything else, such as "5"."""
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


@extend_schema_field(
    {"anyOf": [{"type": "string"}, {"description": "Any other value, which is read as an invalid address"}]}
)
class EntryField(serializers.Field[str, Any, str, Any]):
    """An entry of the list of addresses. An entry that is not text becomes empty, which is a bad address."""

    def to_internal_value(self, data: Any) -> str:
        """Return the text; empty if it is not text, or if no answer can repeat it."""
        if not isinstance(data, str) or _SURROGATE.search(data):
            return ""
        return data

    def to_representation(self, value: str) -> str:
        """Return the entry."""
        return value


class ListField(serializers.ListField):
    """A list. What is none is refused without DRF's sentence, which names types of Python."""

    default_error_messages = {"not_a_list": "This is not a list."}


class EntriesField(ListField):
    """The list of addresses. It may have thousands, so that each is read by `EntryField` only."""

    child = EntryField(allow_null=True)

    def run_child_validation(self, data: list[Any]) -> list[str]:
        """Return the entries."""
        return [self.child.to_internal_value(entry) for entry in data]


MOMENT: dict[str, Any] = {
    "anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}],
    "description": f"A date, or a date and time, of the years {moments.FIRST_YEAR} to {moments.LAST_YEAR}",
}
"""The schema of an instant in a request."""


@extend_schema_field(MOMENT)
class InstantField(serializers.Field[datetime, Any, str, Any]):
    """A date, or a date and time, in ISO 8601. Without a time zone, it is in that of `validated`."""

    def __init__(self, *, end_of_day: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.end_of_day = end_of_day

    def to_internal_value(self, data: Any) -> datetime:
        """Return the instant in UTC; for a date alone its first second, or its last with `end_of_day`."""
        try:
            zone = self.context.get("zone", moments.UTC_ZONE)
            text = data if isinstance(data, str) else ""
            return moments.parse(text, zone=zone, end_of_day=self.end_of_day)
        except moments.MomentUnreadable as unreadable:
            raise serializers.ValidationError(str(unreadable)) from unreadable

    def to_representation(self, value: datetime) -> str:
        """Return the instant with its offset."""
        return value.isoformat()


def example(value: Mapping[str, Any] = {}, /, **more: Any) -> Callable[[Any], Any]:
    """Decorate the serializer of a body: the schema shows this example."""
    made = OpenApiExample("Example", {**value, **more}, request_only=True)
    return extend_schema_serializer(examples=[made])


@example(
    {
        "content_key": "GlobeX+M245",
        "content_price_cents": 14900,
        "learner_emails": ["lena.learner@larkspur.example", "Doe, Jane <jane.doe@larkspur.example>"],
        "due_date": "2027-01-31",
        "message": "See you in March",
    }
)
class AllocateInput(serializers.Serializer[Any]):
    """The body of allocate and can-allocate. The administrator is always the authenticated user."""

    content_key = TextField(max_length=255)
    content_price_cents = CentsField()
    learner_emails = EntriesField(
        allow_empty=False,
        help_text=f"At most {MAX_ADDRESSES} e-mail addresses, with or without names before them. "
        "Repetitions are ignored.",
    )
    due_date = InstantField(
        end_of_day=True,
        required=False,
        allow_null=True,
        help_text="The deadline that you set; the earliest of all deadlines applies. A date without a time "
        "is the end of that day; a time without a zone is in the organisation's zone",
    )
    allow_another = FlagField(
        default=False,
        help_text="Allocate also to learners who have the course of this run, or a run of the same course",
    )
    reallocate_declined = FlagField(
        default=None,
        allow_null=True,
        help_text="Allocate also to learners who declined the content before; null: as the "
        "organisation's setting says",
    )
    message = TextField(
        default="",
        allow_blank=True,
        max_length=LONGEST_MESSAGE,
        help_text="Your message in the e-mail about the assignment, as plain text",
    )
    admin_lms_user_id = NumberField(
        required=False, allow_null=True, help_text="Ignored: the authenticated user is used"
    )


@example(_NAMED)
class AssignmentUuidsInput(serializers.Serializer[Any]):
    """The body of requests that name several assignments."""

    assignment_uuids = ListField(child=UuidField(), allow_empty=False, max_length=MAX_ADDRESSES)


@example(_NAMED | {"days_before_course_start_date": 7})
class NudgeInput(AssignmentUuidsInput):
    """The body of nudge: the assignments, and how soon their content must start."""

    days_before_course_start_date = NumberField(
        required=False, allow_null=True, min_value=1, max_value=LONGEST_AGE_DAYS
    )


@example({"confirmed_count": 12})
class ConfirmedInput(serializers.Serializer[Any]):
    """The body of requests for all assignments that match a filter, with their confirmed count."""

    confirmed_count = NumberField(
        min_value=0,
        help_text="The `count` of the list with the same query string, as you saw it; if it is "
        "another now, nothing is done",
    )


@example({"confirmed_count": 12})
class OptionalCountInput(serializers.Serializer[Any]):
    """The body of cancel-all and remind-all: empty, or the confirmed count."""

    confirmed_count = NumberField(
        required=False,
        min_value=0,
        help_text="The `count` of the list with the same query string; if it is another now, nothing is done",
    )


@example(_NAMED | {"action_type": ActionType.NOTIFIED.value})
class RetryInput(AssignmentUuidsInput):
    """The body of retry: the assignments, and optionally a selection of their failed work."""

    action_type = serializers.ChoiceField(choices=ActionType.choices, required=False)


@example(_NAMED, reason="Asked by telephone")
class SkipInput(RetryInput):
    """The body of skip: that of retry, and the reason."""

    reason = TextField(max_length=LONGEST_REASON)


@example(_NAMED | {"until": "2027-03-31"})
class ExtendInput(AssignmentUuidsInput):
    """The body of extend: the assignments, and the new deadline."""

    until = InstantField(
        end_of_day=True, help_text="The new deadline; a date without a time is the end of that day"
    )


@example({"confirmed_count": 12, "action_type": ActionType.NOTIFIED.value})
class RetryAllInput(ConfirmedInput):
    """The body of retry-all: the confirmed count, and optionally a selection of the failed work."""

    action_type = serializers.ChoiceField(choices=ActionType.choices, required=False)


@example({"confirmed_count": 12, "until": "2027-03-31"})
class ExtendAllInput(ConfirmedInput):
    """The body of extend-all: the confirmed count, and the new deadline."""

    until = InstantField(
        end_of_day=True, help_text="The new deadline; a date without a time is the end of that day"
    )
