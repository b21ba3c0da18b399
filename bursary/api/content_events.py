"""Signed webhooks of other services. An event is stored at once; a scheduled task applies it."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from bursary.api.inputs import (
    BoundedJSONParser,
    ListField,
    PatternField,
    TextField,
    UuidField,
    example,
    validated,
)
from bursary.api.raw_bodies import raw_body
from bursary.api.refusals import Unprocessable
from bursary.api.views import APIView
from bursary.events import inbox, webhook
from bursary.events.models import EventKind, EventSource

MAX_KEYS = 100
KEY = r"^[^\s\x00-\x1f\x7f\ud800-\udfff]{1,255}$"


class ContentChangedData(serializers.Serializer[Any]):
    """The content that has changed: keys of courses and runs, or uuids of programs and pathways."""

    content_keys = ListField(
        child=PatternField(KEY, trim_whitespace=False), allow_empty=False, max_length=MAX_KEYS
    )


class TransactionReversedData(serializers.Serializer[Any]):
    """The transaction that the ledger has reversed."""

    transaction_uuid = UuidField()


_DATA: Mapping[str, type[serializers.Serializer[Any]]] = {
    EventKind.CONTENT_CHANGED: ContentChangedData,
    EventKind.TRANSACTION_REVERSED: TransactionReversedData,
}


@example({"type": EventKind.CONTENT_CHANGED.value, "data": {"content_keys": ["GlobeX+M245"]}})
class ContentEventInput(serializers.Serializer[Any]):
    """The body of a webhook."""

    type = TextField(
        help_text=f"The event's type: {EventKind.CONTENT_CHANGED} or {EventKind.TRANSACTION_REVERSED}"
    )
    data = serializers.DictField(  # type: ignore[assignment]  # the standard's word; DRF has a property of this name
        error_messages={"not_a_dict": "This is not a JSON object."},
        help_text='As the type requires: {"content_keys": […]}, at most 100, or {"transaction_uuid": "…"}',
    )


class ContentEventOutput(serializers.Serializer[Any]):
    """A stored event; `no_change` is true if it was received before."""

    no_change = serializers.BooleanField()


_HEADERS = [
    OpenApiParameter(name, str, OpenApiParameter.HEADER, required=True, description=description)
    for name, description in (
        ("webhook-id", "The event's id, the same on each attempt"),
        ("webhook-timestamp", "The time of this attempt's signature, in seconds since 1970"),
        ("webhook-signature", "`v1,` and the HMAC-SHA256 of id.timestamp.body in base64"),
    )
]


class ContentEvents(APIView):
    """Report changed content or a reversed transaction. The signature takes the place of an API key."""

    reasons = {
        401: ("webhook_headers_missing", "webhook_timestamp_wrong", "webhook_signature_wrong"),
        404: ("webhooks_not_enabled",),
        411: ("length_required",),
        422: ("unknown_event_type",),
    }
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        request=ContentEventInput, responses={202: ContentEventOutput}, parameters=_HEADERS, auth=[]
    )
    def post(self, request: Request) -> Response:
        now = timezone.now()
        webhook.require_listening()
        body = raw_body(request, limit=webhook.LARGEST_BODY)
        event_id = webhook.verify(request.headers, body, now=now)
        event = validated(ContentEventInput, BoundedJSONParser().parse(BytesIO(body)))
        shape = _DATA.get(event["type"])
        if shape is None:
            raise Unprocessable(
                [
                    {
                        "reason": "unknown_event_type",
                        "user_message": "Bursary does not handle events of this type.",
                        "next_step": f"Send only {' and '.join(_DATA)}.",
                    }
                ]
            )
        data = shape(data=event["data"])
        data.is_valid(raise_exception=True)
        new = inbox.receive(
            event_id,
            source=EventSource.WEBHOOK,
            kind=EventKind(event["type"]),
            payload={**data.data},  # without unknown fields
            now=now,
        )
        return Response({"no_change": not new}, status=status.HTTP_202_ACCEPTED)
