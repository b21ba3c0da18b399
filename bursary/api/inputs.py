"""What clients send: parsed once, at the edge."""

import math
from collections.abc import Mapping
from io import BytesIO
from typing import IO, Any

from django.conf import settings
from rest_framework import serializers
from rest_framework.parsers import JSONParser

from bursary.api.refusals import BodyTooLarge
from bursary.assignments.addresses import MOST_ADDRESSES

MOST_CENTS = 10**13
NEARLY_WHOLE = 0.001  # cents: browsers multiply dollars by 100 in binary floats, 19.99 → 1998.9999999999998


class BoundedJSONParser(JSONParser):
    """Reads JSON up to a size that any honest request stays below."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the decoded body. Raises BodyTooLarge, or ParseError where it is not JSON."""
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(most + 1)
        if len(body) > most:
            raise BodyTooLarge(f"The body is larger than {most} bytes.")
        return super().parse(BytesIO(body), media_type, parser_context)


class CentsField(serializers.Field[int, Any, int, Any]):
    """A price in whole US cents, as an integer or as the float that browsers make of it."""

    default_error_messages = {
        "invalid": "A price is a number of cents.",
        "fraction": "A price is a whole number of cents.",
        "range": f"A price lies between 0 and {MOST_CENTS} cents.",
    }

    def to_internal_value(self, data: Any) -> int:
        """Return whole cents; round what is a float's breadth away from them."""
        if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data):
            self.fail("invalid")
        if not 0 <= data <= MOST_CENTS:
            self.fail("range")
        cents = round(data)
        if abs(data - cents) > NEARLY_WHOLE:
            self.fail("fraction")
        return cents

    def to_representation(self, value: int) -> int:
        """Return the cents as they are."""
        return value


class AllocateInput(serializers.Serializer[Any]):
    """The body of allocate and can-allocate. Who allocates is taken from the sign-in alone."""

    content_key = serializers.CharField(max_length=255)
    content_price_cents = CentsField()
    learner_emails = serializers.ListField(
        child=serializers.JSONField(),
        allow_empty=False,
        help_text=f"At most {MOST_ADDRESSES} addresses. Spaces around them and repetitions do no harm.",
    )
    admin_lms_user_id = serializers.IntegerField(
        required=False, help_text="Ignored: the sign-in says who it is"
    )


class AssignmentUuidsInput(serializers.Serializer[Any]):
    """The body of what is done to several assignments."""

    assignment_uuids = serializers.ListField(
        child=serializers.UUIDField(), allow_empty=False, max_length=MOST_ADDRESSES
    )
