"""The report of `bursary status`: what was done, what waits, what failed, and the scheduled tasks.

Each query reads a bounded number of index entries, so that the report is quick on a busy database, too.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings

from bursary.access.models import User
from bursary.assignments import error_texts, failures
from bursary.assignments.choices import MAILS, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import mail_server
from bursary.delivery.errors import FAULTS
from bursary.lib import leases
from bursary.ops import health, scheduler
from bursary.ops.health import MAX_COUNTED as MAX_COUNTED
from bursary.ops.health import Health
from bursary.ops.models import ScheduledTask

SINCE = timedelta(days=1)
OUTCOMES = (Status.DONE, Status.FAILED, Status.SKIPPED)
MAX_EXAMINED = 200
"""Postponed actions of which the errors are read: each row has the stack traces of its attempts."""


@dataclass(frozen=True)
class Waiting:
    """Counts of unfinished work, up to `MAX_COUNTED`."""

    due: dict[str, int]
    """By action type: work that may be done now."""
    running: dict[str, int]
    """By action type: work that a worker has claimed."""
    postponed: dict[str, int]
    """By action type: work to be tried again later, after a failed attempt."""
    postponed_by_cause: dict[str, int]
    """Postponed work by the last attempt's error code, for the first `MAX_EXAMINED`."""
    oldest_due: datetime | None
    next_retry: datetime | None
    mails: int
    """Unfinished mails, for whatever reason they wait."""
    oldest_mail: datetime | None
    """When the oldest unfinished mail was requested."""


@dataclass(frozen=True)
class MailTrouble:
    """The mail server's trouble, in words for the operator."""

    since: datetime | None
    cause: str
    fault: str
    """What is at fault."""
    answer: str
    """The last answer or error, without addresses."""
    failures: int
    """Failures in a row."""
    tried_next: datetime | None
    """None if mails do not wait for the server."""


@dataclass(frozen=True)
class FailedWork:
    """Failed work that can still be repaired, of one error code and action type."""

    cause: str
    action_type: str
    count: int
    too_late: int
    """How many of them are too late to retry: a retry would skip them."""
    first: datetime | None
    latest: datetime | None
    fault: str
    """What is at fault, in words; empty for an unknown error code."""
    sentence: str
    """What happened, in the words that administrators read."""
    example: UUID
    """The assignment that failed last."""


@dataclass(frozen=True)
class TaskLine:
    """The result of a scheduled task's last run, and when it is next due."""

    name: str
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime | None
    late: bool
    """Whether it is late or keeps failing, as `/healthz` counts it."""
    failures: int
    last_error: str


@dataclass(frozen=True)
class StatusReport:
    """The state of the service's work."""

    now: datetime
    since: datetime
    health: Health
    mail_server: MailTrouble | None
    """None while the mail server accepts mails."""
    sends_per_minute: int
    """The limit of mails a minute; 0 for no limit."""
    done: dict[str, dict[str, int]]
    """By action type and outcome, since `since`: the newest `MAX_COUNTED` of each outcome."""
    waiting: Waiting
    failed: list[FailedWork]
    """Among the newest `MAX_COUNTED` failures; the most frequent first."""
    tasks: list[TaskLine]
    password_links_given_up: int
    """Number of accounts, up to `MAX_COUNTED`, to which a password link could not be sent since `since`."""


def load(*, now: datetime) -> StatusReport:
    """Return the report, with eighteen queries at most. Raises the database's errors."""
    since = now - SINCE
    found = health.measure(now=now)
    given_up = User.objects.filter(reset_failed_at__gte=since).order_by()
    return StatusReport(
        now=now,
        since=since,
        health=found,
        mail_server=_mail_trouble(),
        sends_per_minute=settings.SENDS_PER_MINUTE,
        done=_done(since),
        waiting=_waiting(now),
        failed=_failed(now),
        tasks=_tasks(late=found.late_ticks or ()),
        password_links_given_up=given_up.values("pk")[:MAX_COUNTED].count(),
    )


def _mail_trouble() -> MailTrouble | None:
    server = mail_server.in_trouble()
    if server is None:
        return None
    return MailTrouble(
        since=server.trouble_since,
        cause=server.error_code,
        fault=FAULTS[server.error_code],
        answer=server.detail,
        failures=server.failures,
        tried_next=server.due_at,
    )


def _done(since: datetime) -> dict[str, dict[str, int]]:
    by_type: dict[str, dict[str, int]] = {}
    for outcome in OUTCOMES:
        finished = LearnerContentAssignmentAction.objects.filter(status=outcome, completed_at__gte=since)
        types = finished.order_by("-completed_at").values_list("action_type", flat=True)
        for kind, count in Counter(types[:MAX_COUNTED]).items():
            by_type.setdefault(kind, dict.fromkeys(OUTCOMES, 0))[outcome] = count
    return dict(sorted(by_type.items()))


def _waiting(now: datetime) -> Waiting:
    actions = LearnerContentAssignmentAction.objects.all()
    unfinished = actions.filter(early__gte=leases.NOT_BEFORE).order_by("early", "due_at")
    columns = ("pk", "action_type", "early", "due_at", "lease_until", "created")
    due: Counter[str] = Counter()
    running: Counter[str] = Counter()
    postponed: dict[int, tuple[str, datetime]] = {}
    mails: list[datetime] = []
    for pk, kind, early, due_at, lease_until, created in unfinished.values_list(*columns)[:MAX_COUNTED]:
        if kind in MAILS:
            mails.append(created)
        if lease_until and lease_until > now:
            running[kind] += 1
        elif early == leases.MAY_BE_EARLY or due_at <= now:
            due[kind] += 1
        else:
            postponed[pk] = (kind, due_at)
    examined = actions.filter(pk__in=list(postponed)[:MAX_EXAMINED])
    logs = examined.order_by().values_list("attempt_log", flat=True)
    by_code = Counter(str(log[-1].get("cause", "")) for log in logs if log)
    return Waiting(
        due=dict(due),
        running=dict(running),
        postponed=dict(Counter(kind for kind, _due_at in postponed.values())),
        postponed_by_cause=dict(by_code.most_common()),
        oldest_due=leases.oldest_due(actions, now=now),
        next_retry=min((due_at for _kind, due_at in postponed.values()), default=None),
        mails=len(mails),
        oldest_mail=min(mails, default=None),
    )


def _failed(now: datetime) -> list[FailedWork]:
    columns = ("error_code", "action_type", "completed_at", "assignment__uuid", "is_late")
    newest = failures.to_repair().annotate(is_late=failures.too_late(now)).order_by("-completed_at")
    found: dict[tuple[str, str], list[tuple[datetime | None, UUID, bool]]] = {}
    for code, kind, *one in newest.values_list(*columns)[:MAX_COUNTED]:
        found.setdefault((code, kind), []).append((one[0], one[1], one[2]))
    return [
        FailedWork(
            cause=code,
            action_type=kind,
            count=len(ones),
            too_late=sum(is_late for _completed_at, _uuid, is_late in ones),
            first=ones[-1][0],
            latest=ones[0][0],
            fault=FAULTS.get(code, ""),
            sentence=str(error_texts.for_code(code).sentence),
            example=ones[0][1],
        )
        for (code, kind), ones in sorted(found.items(), key=lambda one: -len(one[1]))
    ]


def _tasks(*, late: Collection[str]) -> list[TaskLine]:
    rows = ScheduledTask.objects.in_bulk(field_name="name")
    known = [rows[task.name] for task in scheduler.TASKS if task.name in rows]
    return [
        TaskLine(
            name=one.name,
            started_at=one.started_at,
            finished_at=one.finished_at,
            due_at=one.due_at,
            late=one.name in late,
            failures=one.failures,
            last_error=one.last_error,
        )
        for one in known
    ]


def summary(report: StatusReport) -> dict[str, object]:
    """Return the report as plain values."""
    return asdict(report)
