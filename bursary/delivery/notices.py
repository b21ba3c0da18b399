"""Mails to administrators about what a change did to open assignments. Each notice is a leased row."""

import logging
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import F, QuerySet
from django.utils import translation

from bursary.access import contacts
from bursary.assignments import content_display
from bursary.assignments.administrator_notices import LONGEST_WAIT_FOR_NOTICE
from bursary.assignments.choices import ADDRESS_REASONS
from bursary.assignments.models import AdministratorNotice
from bursary.delivery import emails, mail_connection, runner, sending_rate
from bursary.delivery.errors import DeliveryError
from bursary.lib import leases, moments
from bursary.lib.clock import Clock

logger = logging.getLogger(__name__)

MAX_ADMINISTRATORS = 50  # of one customer that are written to
MAX_NOTICES = 20  # in one call
WAIT_AFTER_NOTICE = timedelta(hours=12)
"""How long the first administrator that is notified has, at least, between the mail and the expiry."""
_TEMPLATES: Mapping[str, str] = {"": "deadline_moved"} | dict.fromkeys(ADDRESS_REASONS, "address_refused")
"""By reason; any other one's is `not_joinable`."""


def send_due(*, clock: Clock, limit: int = MAX_NOTICES) -> int:
    """Send due notices; return how many were tried.

    A notice that is resolved before it was sent stays, and is sent if its content soon becomes impossible to
    join again. Notices do not wait for the rate behind learners' mails, but behind the mails of other
    notices.
    """
    with mail_connection.kept_open():
        for tried in range(limit):
            if not leases.any_due(_unresolved, now=clock()) or sending_rate.is_ahead(now=clock()):
                return tried
            for notice in leases.claim(
                _unresolved, now=clock(), lease=settings.LEASE, limit=1, attempts=F("attempts") + 1
            ):
                _notify(notice, clock=clock)
    return limit


def _unresolved() -> QuerySet[AdministratorNotice]:
    rows = AdministratorNotice.objects.filter(resolved_at=None)
    return rows.select_related("budget__customer", "content").defer("content__payload")


def _notify(notice: AdministratorNotice, *, clock: Clock) -> None:
    """Mail each administrator that was not notified yet, as long as the lease lasts."""
    waits_until = notice.no_expiry_before
    if waits_until and notice.notified_at is None:
        waits_until = max(waits_until, clock() + WAIT_AFTER_NOTICE)
    notified: list[int] = []
    errors: list[str] = []
    retry, stop_at = False, time.monotonic() + settings.SEND_DEADLINE.total_seconds()
    customer = notice.budget.customer_id
    for contact in contacts.for_notices(
        customer, now=clock(), without=notice.notified_contacts, limit=MAX_ADMINISTRATORS
    ):
        if time.monotonic() > stop_at:
            retry = True
            break
        name = str(notice.mail_uuid(contact.key, edition=notice.edition))
        with translation.override(settings.LANGUAGE_CODE):
            context = _context(notice, waits_until)
        try:
            template = _TEMPLATES.get(notice.reason, "not_joinable")
            sending_rate.take_slot_anyway(now=clock())
            emails.send(contact.email, template=template, context=context, name=name, now=clock())
            notified.append(contact.key)
        except DeliveryError as error:  # a refused address does not stop the mails to others
            errors.append(error.error_code)
            retry = retry or not error.permanent
            if error.blames_server or error.all_mails_wait:
                break
        except Exception as error:  # noqa: BLE001  # one administrator's mail does not stop the others'
            logger.warning("Notice %s failed: %s", notice.uuid, type(error).__name__)
            errors.append("unexpected_error")
            retry = True
    _settle(
        notice,
        waits_until,
        notified=[*notice.notified_contacts, *notified],
        errors=errors,
        retry=retry,
        now=clock(),
    )


def _settle(
    notice: AdministratorNotice,
    waits_until: datetime | None,
    *,
    notified: list[int],
    errors: list[str],
    retry: bool,
    now: datetime,
) -> None:
    last_error = ", ".join(errors) or ("" if notified else "no_administrator")
    if last_error:
        logger.warning("Notice %s: %s notified. %s", notice.uuid, len(notified), last_error)
    columns: dict[str, Any] = {"notified_contacts": notified, "last_error": last_error}
    if notice.notified_at is None and (notified or not retry):
        # Where no administrator can be reached by mail, the dashboard's first page shows the notice.
        columns |= {"notified_at": now, "no_expiry_before": waits_until}
    again = retry and now < notice.created + LONGEST_WAIT_FOR_NOTICE
    leases.settle(
        [notice],
        due_at=now + runner.wait_after(notice.attempts) if again else None,
        now=now,
        # Where more assignments came meanwhile, the mails gave too few: sent again when the lease ends.
        condition={"edition": notice.edition},
        **columns,
    )


def _context(notice: AdministratorNotice, waits_until: datetime | None) -> dict[str, object]:
    customer = notice.budget.customer
    return {
        "organisation": customer.name,
        "budget": notice.budget.name,
        "course": "" if notice.reason in ADDRESS_REASONS else content_display.notice_title(notice),
        "count": notice.assignments,
        "until": moments.in_words(waits_until, zone=customer.zone) if waits_until else "",
        "reason": notice.get_reason_display(),
        "link": f"{settings.BASE_URL}/",
    }
