"""Telling administrators, by mail, what they must know before it happens. The notice's row is the queue."""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F

from bursary.access.models import Role, User
from bursary.assignments.notices import DeadlineNotice
from bursary.delivery import messages, runner
from bursary.delivery.runner import Clock
from bursary.delivery.troubles import DeliveryError

logger = logging.getLogger(__name__)

MOST_ADMINISTRATORS = 50  # of one customer that are written to
MOST_NOTICES = 100  # a call


def tell(*, clock: Clock, most: int = MOST_NOTICES) -> int:
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
    lease = settings.LEASE + timedelta(seconds=1) * MOST_ADMINISTRATORS
    taken = DeadlineNotice.objects.filter(pk=notice.pk, due_at=notice.due_at, attempts=notice.attempts)
    notice.attempts += 1
    return bool(taken.update(due_at=now + lease, attempts=F("attempts") + 1))


def _tell(notice: DeadlineNotice, *, clock: Clock) -> None:
    """Write to each administrator. One whose address is refused for good keeps nobody else from knowing."""
    told, problems, again = 0, [], False
    for administrator in _administrators(notice):
        try:
            name = f"{notice.uuid}.{administrator.pk}"
            messages.send(administrator.email, template="deadline_moved", context=_context(notice), name=name)
            told += 1
        except DeliveryError as error:
            problems.append(error.cause)
            again = again or not error.permanent
    last_error = ", ".join(problems) or ("" if told else "nobody_to_tell")
    logger.log(
        logging.WARNING if last_error else logging.INFO, "Notice %s: %s told. %s", notice.pk, told, last_error
    )
    mine = DeadlineNotice.objects.filter(pk=notice.pk, attempts=notice.attempts)
    if again and notice.attempts < runner.MOST_ATTEMPTS:
        mine.update(due_at=clock() + runner.wait_after(notice.attempts), last_error=last_error)
    else:
        # Who has nobody to tell, or no address that works, reads it on the first page.
        mine.update(due_at=None, told_at=None if again else clock(), last_error=last_error)


def _administrators(notice: DeadlineNotice) -> list[User]:
    grants = {"role_grants__customer": notice.budget.customer_id, "role_grants__role": Role.ADMINISTRATOR}
    active = User.objects.filter(is_active=True, **grants).exclude(email="")
    return list(active.order_by("pk").distinct()[:MOST_ADMINISTRATORS])


def _context(notice: DeadlineNotice) -> dict[str, object]:
    customer = notice.budget.customer
    return {
        "organisation": customer.name,
        "budget": notice.budget.name,
        "course": notice.content.title if notice.content else "",
        "count": notice.assignments,
        "until": messages.moment_in_words(notice.grace_until, customer=customer),
        "link": f"{settings.BASE_URL}/",
    }
