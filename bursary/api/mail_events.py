"""Mail providers' reports of mails. A report is stored at once; a scheduled task applies it."""

import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from bursary.api.inputs import BoundedJSONParser
from bursary.api.raw_bodies import raw_body
from bursary.api.views import APIView
from bursary.delivery import provider_reports
from bursary.events import inbox, mail_webhook
from bursary.events.models import LONGEST_ID, EventKind, EventSource
from bursary.events.webhook import WebhookRefused

_NAME = re.compile(r"[a-z0-9_]{1,32}")
SIGNED = ("mailgun", "resend")


def _require_known(provider: str) -> None:
    """Raise NotFound for a name that is no provider's, WebhookRefused unless its reports are taken.

    Without the library any name may be a provider's.
    """
    can_read = provider_reports.is_installed()
    if not _NAME.fullmatch(provider) or (can_read and not provider_reports.is_supported(provider)):
        raise NotFound("There is no mail provider of this name.")
    mail_webhook.require_listening(provider)
    if not can_read:
        raise WebhookRefused(
            "webhooks_not_enabled",
            "This installation cannot read mail providers' reports.",
            "Have bursary[anymail] installed, then send it again.",
        )


class MailEventsOutput(serializers.Serializer[Any]):
    """Stored reports; `no_change` is true if none of them was new and relevant."""

    no_change = serializers.BooleanField()


class MailEvents(APIView):
    """Report delivered, bounced and unwanted mails, in the format of the provider in the URL."""

    reasons = {
        401: ("webhook_headers_missing", "webhook_timestamp_wrong", "webhook_signature_wrong"),
        404: ("webhooks_not_enabled",),
        411: ("length_required",),
        415: (),
    }
    takes_any_parameter = True
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(request=None, responses={200: MailEventsOutput}, auth=[])
    def post(self, request: Request, provider: str) -> Response:
        now, plain = timezone.now(), request._request
        _require_known(provider)
        body = raw_body(request, limit=mail_webhook.LARGEST_BODY)
        content = BoundedJSONParser().parse(BytesIO(body)) if provider in SIGNED else {}
        delivery = mail_webhook.verify(
            provider, plain, content if isinstance(content, Mapping) else {}, now=now
        )
        if provider not in SIGNED and not provider_reports.authenticated(provider, plain):
            raise WebhookRefused(
                "webhook_signature_wrong",
                "It has not the password for reports in its address, or not the provider's signature.",
                f"Check BURSARY_ANYMAIL_{mail_webhook.PASSWORD}, and the address that the provider "
                "reports to.",
            )
        try:
            reports = list(provider_reports.parse(provider, plain, now=now))
        except provider_reports.ReportUnreadable as why:
            address = f"{provider}:{delivery}" if delivery else f"{provider}:{now.isoformat()}"
            new = inbox.set_aside(address, source=EventSource.MAIL, error=str(why), now=now)
            return Response({"no_change": not new})
        new = False
        for event_id, report in reports:
            name = f"{provider}:{delivery or event_id or provider_reports.id_from_content(report)}"
            new |= inbox.receive(
                name[:LONGEST_ID],
                source=EventSource.MAIL,
                kind=EventKind.MAIL_REPORTED,
                payload=provider_reports.payload(report),
                now=now,
            )
        return Response({"no_change": not new})
