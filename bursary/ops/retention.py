"""The scheduled task `retention`: deletes data daily that is older than its setting allows.

The task's summary has the progress in the timeline and in the record of changes.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management import call_command

from bursary.access import contacts, idempotency, rate_limits, suppressions
from bursary.assignments import csv_export
from bursary.assignments import retention as timelines
from bursary.delivery import file_backend
from bursary.events import inbox
from bursary.lib.clock import Clock
from bursary.ops.models import ScheduledTask
from bursary.replica import change_log

TASK = "retention"
MAX_A_RUN = 200_000
"""About so many actions and changes are examined in a run. The next day's run continues."""


def run(*, clock: Clock) -> Mapping[str, object]:
    """Delete data that is old enough; return the number of deletions by kind, and the progress.

    That includes ended sessions, lapsed answers, counts of requests, contacts not seen for long, and
    suppressions.
    """
    task = ScheduledTask.objects.filter(name=TASK).first()
    before: Mapping[str, Any] = (task.summary if task else {}).get("reached", {})
    call_command("clearsessions")
    deleted: dict[str, object] = {
        "answers": idempotency.delete_old(now=clock()),
        "tallies": rate_limits.delete_old(now=clock()),
        "events": inbox.delete_old(now=clock()),
        "exports": csv_export.delete_old_log(now=clock()),
        "contacts": contacts.delete_unseen(now=clock()),
        "suppressions": suppressions.delete_old(now=clock()),
    }
    mails = timelines.clear_mails(
        before=clock() - settings.KEEP_MAILS,
        after=_instant(before.get("mails")),
        limit=MAX_A_RUN,
        remove=file_backend.remove,
    )
    attempts = timelines.clear_attempts(
        before=clock() - settings.KEEP_ATTEMPTS, after=_instant(before.get("attempts")), limit=MAX_A_RUN
    )
    changes, last = change_log.delete_old(
        before=clock() - settings.KEEP_CHANGES,
        kept=timelines.of_assigned_content(),
        after=before.get("changes", 0),
        limit=MAX_A_RUN,
    )
    deleted |= {"mails": mails.actions, "attempts": attempts.actions, "changes": changes}
    return deleted | {
        "reached": {"mails": mails.through, "attempts": attempts.through, "changes": last},
    }


def _instant(written: str | None) -> datetime | None:
    return datetime.fromisoformat(written) if written else None
