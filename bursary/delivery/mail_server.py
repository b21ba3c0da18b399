"""The mail server's trouble: it is stored once, and one mail at a time tries the server while others wait.

Its row (`MailServer`) is leased, so that over all processes one mail tries a server that did not answer. A
refusal of one mail, for example by a policy, makes the others wait only after several such refusals in a row.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from bursary.delivery.errors import FAULTS, LONGEST_OUTAGE, DeliveryError, MailsPaused
from bursary.delivery.models import MailServer
from bursary.delivery.smtp_answers import mail_errors_translated
from bursary.lib import leases, logs, retries, texts
from bursary.lib.prepared import PreparedSelect
from bursary.lib.retries import repeated_after_deadlocks

logger = logging.getLogger(__name__)

NAME = "default"
FAILURES = 5
"""After the server has failed so many single mails in a row, all mails wait."""
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(minutes=15)
"""The longest time between two attempts at a server in trouble. Each attempt costs one connection."""
PROBE_PAUSE = timedelta(seconds=30)
"""While another worker tries the server, mails wait this long."""
SPACING = timedelta(seconds=0.5)
"""The time between mails that waited, so that later mails take turns with them."""
PER_INSTANT = 10
"""The number of postponed mails that are due at one instant: `SPACING` apart on average."""
LONGEST_QUEUE = timedelta(hours=6)
"""The longest time between the server's next try and the first mail of a batch that is postponed."""
BATCH = 500
"""The most mails that are postponed at once."""
ABOUT_THE_MESSAGE = ("message_refused", "message_invalid")
"""Final refusals of one message: they do not show that the server takes other mails."""


def in_trouble() -> MailServer | None:
    """Return the mail server while it is in trouble. One query."""
    server: MailServer | None = _IN_TROUBLE.first()
    return server


_IN_TROUBLE = PreparedSelect(lambda: MailServer.objects.filter(trouble_since__isnull=False)[:1])


@contextmanager
def send_recorded(*, now: datetime, failed_before: bool = False) -> Iterator[None]:
    """Send one mail inside the block, and store whether the server accepted it.

    Raises DeliveryError, and MailsPaused if the mail must wait with the others. `failed_before`: an attempt
    at this mail has failed before, so that another refusal of it does not count against the server.
    """
    server = in_trouble()
    probe = _probe(server, now=now) if server and server.due_at else None
    try:
        with mail_errors_translated():
            yield
    except DeliveryError as error:
        if error.error_code in ABOUT_THE_MESSAGE:
            if probe:  # let mails go out, but leave the trouble recorded until one shows that it has ended
                leases.settle([probe], due_at=None, now=now, finished_wins=True)
        elif not error.blames_server:
            _record_success(server, probe, now=now, recovered_text="answers")
        elif error.all_mails_wait or server or not failed_before:
            _record_failure(error, probe, now=now)
        raise
    _record_success(server, probe, now=now)


def _probe(server: MailServer, *, now: datetime) -> MailServer:
    """Claim the server, if it is due: this mail tries it for all. Raises MailsPaused."""
    claimed = leases.claim(MailServer.objects.all, now=now, lease=settings.LEASE, limit=1, pks=[server.pk])
    if claimed:
        return claimed[0]
    due_at = server.due_at or now
    tried_now = due_at <= now or (server.lease_until and server.lease_until > now)
    raise MailsPaused(
        server.error_code,
        server.detail,
        until=now + PROBE_PAUSE if tried_now else due_at,
        since=server.trouble_since or now,
        all_mails_wait=True,
    )


def _record_failure(error: DeliveryError, probe: MailServer | None, *, now: datetime) -> None:
    """Store a failure of the server; make other mails wait if they would fail in the same way."""
    server, _made = repeated_after_deadlocks(MailServer.objects.get_or_create)(name=NAME)
    rows = MailServer.objects.filter(pk=server.pk)
    fault = FAULTS[error.error_code]
    detail = texts.storable(logs.without_addresses(error.detail), instead=texts.REPLACEMENT)
    columns: dict[str, Any] = {
        "error_code": error.error_code,
        "detail": detail,
        "failures": server.failures + 1,
    }
    if rows.filter(trouble_since=None).update(trouble_since=now):
        logger.warning("The mail server fails: %s. At fault: %s. %s", error.error_code, fault, detail)
    elif rows.exclude(error_code=error.error_code).update(error_code=error.error_code):
        logger.warning(
            "The mail server fails by another cause: %s. At fault: %s. %s", error.error_code, fault, detail
        )
    if error.all_mails_wait or server.failures + 1 >= FAILURES:
        wait = retries.back_off(server.failures + 1, first=FIRST_WAIT, longest=LONGEST_WAIT)
        wait = max(wait, error.wait)
        # This mail may itself be the reason of the failure: at `wait`, another one tries the server first.
        error.wait = wait + SPACING
        if probe:
            leases.settle([probe], due_at=now + wait, now=now, **columns)
        else:
            leases.schedule(rows, at=now + wait, now=now, **columns)
    else:
        rows.update(**columns)


def _record_success(
    server: MailServer | None, probe: MailServer | None, *, now: datetime, recovered_text: str = "takes mails"
) -> None:
    """Store that the server accepts mails again, or at least answers about single ones."""
    if server is None:
        return
    columns: dict[str, Any] = {"trouble_since": None, "error_code": "", "detail": "", "failures": 0}
    if probe:
        recovered = leases.settle([probe], due_at=None, now=now, finished_wins=True, **columns)
    else:  # while mails wait with it, the one that tries it decides
        recovered = MailServer.objects.filter(
            pk=server.pk, due_at=None, trouble_since=server.trouble_since
        ).update(**columns)
    if recovered and server.trouble_since:
        minutes = (now - server.trouble_since).total_seconds() / 60
        text = "The mail server %s again: %s for %.0f min."
        logger.warning(text, recovered_text, server.error_code, minutes)


def postpone_mails(mails: QuerySet[Any], paused: MailsPaused, *, now: datetime) -> None:
    """Postpone a batch of due mails to the server's next try, in their order, behind those postponed before.

    Those that have waited for `LONGEST_OUTAGE` stay due, and fail one by one.
    """
    if paused.since <= now - LONGEST_OUTAGE:
        mails = mails.filter(created__gt=now - LONGEST_OUTAGE)
    # Mails that may be claimed before `due_at` do not wait for it, and are not in the queue.
    queue = mails.filter(early=leases.NOT_BEFORE, due_at__range=(paused.until, paused.until + LONGEST_QUEUE))
    # A mail that was tried may be the reason of the trouble: none goes behind it, so that another is first.
    last = queue.filter(attempts=0).order_by("-due_at").values_list("due_at", flat=True).first()
    step, start = SPACING * PER_INSTANT, paused.until
    if last:
        start = min(last + step, paused.until + LONGEST_QUEUE)
    pks = leases.first_due(mails, now=now, limit=BATCH)
    due = {pk: start + step * (index // PER_INSTANT) for index, pk in enumerate(pks)}
    leases.postpone(mails, until=due, now=now)
