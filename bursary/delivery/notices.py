"""Telling administrators, by mail, what they must know before it happens. The notice's row is the queue."""

import logging
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid5

from django.conf import settings
from django.db.models import F

from bursary.access.models import Role, User
from bursary.assignments.deadline_notices import LONGEST_WAIT_FOR_NOTICE, DeadlineNotice
from bursary.delivery import emails, runner
from bursary.delivery.errors import DeliveryError
from bursary.delivery.runner import Clock

logger = logging.getLogger(__name__)

MOST_ADMINISTRATORS = 50  # of one customer that are written to
MOST_NOTICES = 20  # a call
LEAST_NOTICE = timedelta(hours=12)
"""How long an administrator has, at least, between the mail and the expiry."""
_NO_USE_IN_GOING_ON = {"mail_server_unreachable", "mail_server_refuses_us"}


def send_due(*, clock: Clock, most: int = MOST_NOTICES) -> int:
    """Send what administrators are to be told by now; return how many notices were tried."""
    for tried in range(most):
        due = DeadlineNotice.objects.filter(due_at__lte=clock()).order_by("due_at", "id")
        notice = due.select_related("budget__customer", "content").defer("content__payload").first()
        if notice is None:
            return tried
        if _claimed(notice, now=clock()):
            _tell(notice, clock=clock)
    return most


def _claimed(notice: DeadlineNotice, *, now: datetime) -> bool:
    """Take the notice up for a lease, unless somebody was faster."""
    taken = DeadlineNotice.objects.filter(pk=notice.pk, due_at=notice.due_at, attempts=notice.attempts)
    notice.attempts += 1
    return bool(taken.update(due_at=now + settings.LEASE, attempts=F("attempts") + 1))


def _tell(notice: DeadlineNotice, *, clock: Clock) -> None:
    """Write to each administrator who was not told yet; remember who was, and when to try the rest again."""
    waits_until = max(notice.grace_until, clock() + LEAST_NOTICE)
    sent = _send(notice, waits_until)
    told, now = [*notice.told, *sent.told], clock()
    last_error = ", ".join(sent.problems) or ("" if told else "nobody_to_tell")
    columns: dict[str, object] = {"told": told, "last_error": last_error, "due_at": None}
    if sent.again and now < notice.created + LONGEST_WAIT_FOR_NOTICE:
        columns["due_at"] = now + runner.wait_after(notice.attempts)
    if notice.told_at is None and (told or not sent.again):
        # Who has nobody to tell, or no address that works, reads it on the first page.
        columns |= {"told_at": now, "grace_until": waits_until}
    if last_error:
        logger.warning("Notice %s: %s told. %s", notice.pk, len(told), last_error)
    # Where more came to it meanwhile, the mails said too few: they are sent anew when the lease is over.
    said = DeadlineNotice.objects.filter(
        pk=notice.pk, attempts=notice.attempts, assignments=notice.assignments
    )
    said.update(**columns)


@dataclass
class _Sent:
    """Who was told (pks), what went wrong with others, and whether some are to be tried again."""

    told: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    again: bool = False


def _send(notice: DeadlineNotice, waits_until: datetime) -> _Sent:
    """Write to administrators as long as the lease allows. One refused address keeps nobody from knowing."""
    sent, context = _Sent(), _context(notice, waits_until)
    until = time.monotonic() + settings.SEND_DEADLINE.total_seconds()
    for administrator in _administrators(notice):
        if time.monotonic() > until:
            sent.again = True
            break
        name = str(uuid5(notice.uuid, f"{administrator.pk} {notice.assignments}"))
        try:
            emails.send(administrator.email, template="deadline_moved", context=context, name=name)
            sent.told.append(administrator.pk)
        except DeliveryError as error:
            sent.problems.append(error.error_code)
            sent.again = sent.again or not error.permanent
            if error.error_code in _NO_USE_IN_GOING_ON:
                break
    return sent


def _administrators(notice: DeadlineNotice) -> list[User]:
    grants = {"role_grants__customer": notice.budget.customer_id, "role_grants__role": Role.ADMINISTRATOR}
    active = User.objects.filter(is_active=True, **grants).exclude(email="").exclude(pk__in=notice.told)
    return list(active.order_by("pk").distinct()[:MOST_ADMINISTRATORS])


def _context(notice: DeadlineNotice, waits_until: datetime) -> dict[str, object]:
    customer = notice.budget.customer
    return {
        "organisation": customer.name,
        "budget": notice.budget.name,
        "course": notice.content.title if notice.content else "",
        "count": notice.assignments,
        "until": emails.moment_in_words(waits_until, customer=customer),
        "link": f"{settings.BASE_URL}/",
    }
