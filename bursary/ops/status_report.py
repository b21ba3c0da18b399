"""The report of `bursary status`: what was done, what waits, what failed, and the scheduled tasks.

Each query reads a bounded number of rows of an index, so that it answers on a busy database, too.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bursary.access.models import User
from bursary.assignments import causes, failures
from bursary.assignments.choices import Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import mail_server
from bursary.delivery.errors import FAULTS
from bursary.delivery.handlers import MAILS
from bursary.lib import leases
from bursary.ops import health, scheduler
from bursary.ops.console import counted_in_words, shortened
from bursary.ops.health import MOST_COUNTED, Health
from bursary.ops.models import ScheduledTask

SINCE = timedelta(days=1)
HOUR = timedelta(hours=1)
OUTCOMES = (Status.DONE, Status.FAILED, Status.SKIPPED)
MOST_EXAMINED = 200
"""The errors of so many postponed actions are read: each has the stack traces of its attempts."""
MOST_LINES = 10  # of causes, on the screen
PROBLEMS: Mapping[str, str] = {
    "database_unavailable": "The database does not answer.",
    "disk_full": "The disk of the database or of the mails is full: free some space.",
    "folder_not_writable": "The folder of the database or of the mails cannot be written.",
    "work_not_done": "Due work waits and none is done: do the processes run that deliver it?",
    "tasks_late": "Scheduled tasks are late or keep failing: see below.",
    "broker_unreachable": "The broker takes no wake-ups: work waits until it is back. None is lost.",
    "work_dated_ahead": "A clock that was ahead dated work, which waits until then: see the manual.",
}
"""What to do about the codes of health that are not the mail server's."""
RUN_BY: Mapping[str, str] = {
    "thread": "`bursary serve` runs them",
    "celery": "`bursary worker` runs them, woken by `bursary beat`",
}


REMEDIES: Mapping[str, str] = {
    "address_rejected": "address_rejected: a retry would fail again. Correct the address, which invites the "
    "learner there: `bursary correct_address OLD NEW`.",
    "ledger_refused": "ledger_refused: no retry. The learner can accept again.",
}
"""What to do about causes that no retry repairs."""


@dataclass(frozen=True)
class Waiting:
    """Unfinished work: the first `MOST_COUNTED`."""

    due: dict[str, int]
    """By action type: it may be done now."""
    running: dict[str, int]
    """By action type: a worker has it."""
    postponed: dict[str, int]
    """By action type: an attempt failed, and it is tried again later."""
    postponed_by_cause: dict[str, int]
    """By the last attempt's cause, of the first `MOST_EXAMINED`."""
    oldest_due: datetime | None
    next_retry: datetime | None
    mails: int
    """Unfinished mails, whatever they wait for."""
    oldest_mail: datetime | None
    """When the oldest of them was requested."""


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
    """In a row."""
    tried_next: datetime | None
    """Empty: mails do not wait with it."""


@dataclass(frozen=True)
class FailedWork:
    """Failed work that can still be repaired, of one cause and action type."""

    cause: str
    action_type: str
    count: int
    first: datetime | None
    latest: datetime | None
    fault: str
    """What is at fault, in words; empty for an unknown cause."""
    sentence: str
    """What happened, as administrators read it."""
    example: UUID
    """The assignment that failed last."""


@dataclass(frozen=True)
class TaskLine:
    """How a scheduled task went last, and when it is next due."""

    name: str
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime | None
    late: bool
    """Late, or failing again and again, as `/healthz` counts it."""
    failures: int
    last_error: str


@dataclass(frozen=True)
class StatusReport:
    """The state of the service's work."""

    now: datetime
    since: datetime
    health: Health
    mail_server: MailTrouble | None
    """None while it takes mails."""
    sends_per_minute: int
    """The most mails in a minute; 0 for no limit."""
    done: dict[str, dict[str, int]]
    """By action type and outcome, since `since`: the newest `MOST_COUNTED` of each outcome."""
    waiting: Waiting
    failed: list[FailedWork]
    """The newest `MOST_COUNTED`, most frequent first."""
    tasks: list[TaskLine]
    password_links_given_up: int
    """Accounts, up to `MOST_COUNTED`, to which no link to set a password could be sent since `since`."""


def load(*, now: datetime) -> StatusReport:
    """Return the report. Eighteen queries at most. Raises the database's errors."""
    since = now - SINCE
    found = health.measure(now=now)
    return StatusReport(
        now=now,
        since=since,
        health=found,
        mail_server=_mail_trouble(),
        sends_per_minute=settings.SENDS_PER_MINUTE,
        done=_done(since),
        waiting=_waiting(now),
        failed=_failed(),
        tasks=_tasks(late=found.late_ticks or ()),
        password_links_given_up=_password_links_given_up(since),
    )


def _mail_trouble() -> MailTrouble | None:
    server = mail_server.in_trouble()
    if server is None:
        return None
    return MailTrouble(
        since=server.trouble_since,
        cause=server.cause,
        fault=FAULTS[server.cause],
        answer=server.detail,
        failures=server.failures,
        tried_next=server.due_at,
    )


def _password_links_given_up(since: datetime) -> int:
    return User.objects.filter(reset_failed_at__gte=since).order_by().values("pk")[:MOST_COUNTED].count()


def _done(since: datetime) -> dict[str, dict[str, int]]:
    by_type: dict[str, dict[str, int]] = {}
    for outcome in OUTCOMES:
        finished = LearnerContentAssignmentAction.objects.filter(status=outcome, completed_at__gte=since)
        types = finished.order_by("-completed_at").values_list("action_type", flat=True)
        for kind, count in Counter(types[:MOST_COUNTED]).items():
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
    for pk, kind, early, due_at, lease_until, created in unfinished.values_list(*columns)[:MOST_COUNTED]:
        if kind in MAILS:
            mails.append(created)
        if lease_until and lease_until > now:
            running[kind] += 1
        elif early == leases.MAY_BE_EARLY or due_at <= now:
            due[kind] += 1
        else:
            postponed[pk] = (kind, due_at)
    examined = actions.filter(pk__in=list(postponed)[:MOST_EXAMINED])
    logs = examined.order_by().values_list("attempt_log", flat=True)
    by_cause = Counter(str(log[-1].get("cause", "")) for log in logs if log)
    return Waiting(
        due=dict(due),
        running=dict(running),
        postponed=dict(Counter(kind for kind, _due_at in postponed.values())),
        postponed_by_cause=dict(by_cause.most_common()),
        oldest_due=leases.oldest_due(actions, now=now),
        next_retry=min((due_at for _kind, due_at in postponed.values()), default=None),
        mails=len(mails),
        oldest_mail=min(mails, default=None),
    )


def _failed() -> list[FailedWork]:
    columns = ("error_code", "action_type", "completed_at", "assignment__uuid")
    newest = failures.to_repair().order_by("-completed_at").values_list(*columns)[:MOST_COUNTED]
    found: dict[tuple[str, str], list[tuple[datetime | None, UUID]]] = {}
    for cause, kind, completed_at, uuid in newest:
        found.setdefault((cause, kind), []).append((completed_at, uuid))
    return [
        FailedWork(
            cause=cause,
            action_type=kind,
            count=len(ones),
            first=ones[-1][0],
            latest=ones[0][0],
            fault=FAULTS.get(cause, ""),
            sentence=str(causes.in_words(cause).sentence),
            example=ones[0][1],
        )
        for (cause, kind), ones in sorted(found.items(), key=lambda one: -len(one[1]))
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


def render(report: StatusReport) -> RenderableType:
    """Return the report as one screen: its parts below each other, with times in UTC."""
    found = report.health
    alarms = (
        f" Catalogs of which too much is missing: {found.catalog_alarms}." if found.catalog_alarms else ""
    )
    return Group(
        Text(f"{found.status} at {_time(report.now)} UTC, as all times here.{alarms}", style="bold"),
        Text("\n".join([*(PROBLEMS[code] for code in found.problems if code in PROBLEMS), ""])),
        *_mail_text(report),
        *_password_text(report.password_links_given_up),
        _done_table(report),
        _waiting_text(report.waiting, report.now),
        _failed_table(report.failed),
        _task_table(report.tasks),
    )


def _mail_text(report: StatusReport) -> list[Text]:
    trouble, waiting = report.mail_server, report.waiting
    limit = report.sends_per_minute
    rate = f"At most {counted_in_words(limit, 'mail')} a minute." if limit else ""
    if trouble is None:
        return [Text(f"{rate}\n")] if rate else []
    lines = [
        *filter(None, [rate]),
        f"The mail server has been in trouble since {_time(trouble.since)}: {trouble.cause}.",
        f"At fault: {trouble.fault}. {trouble.answer}",
    ]
    if waiting.oldest_mail:
        waited = report.now - waiting.oldest_mail
        shown = f"{waited // HOUR} hours" if waited >= 2 * HOUR else f"{int(waited.total_seconds())} s"
        lines.append(f"Mails that wait: {waiting.mails}, the oldest for {shown}. None is lost.")
    if trouble.tried_next:
        lines.append(f"It is tried next at {_time(trouble.tried_next)}.")
    return [Text("\n".join([*lines, ""]))]


def _password_text(given_up: int) -> list[Text]:
    if not given_up:
        return []
    line = f"Links to set a password that could not be sent, given up: {_count(given_up)}. Their users asked "
    return [Text(f"{line}for them, and may ask again once mails go out; the log names the accounts.\n")]


def _done_table(report: StatusReport) -> RenderableType:
    if not report.done:
        return Text(f"Done since {_time(report.since)}: nothing.\n")
    table = _table("action", *OUTCOMES)
    for kind, counts in report.done.items():
        table.add_row(kind, *(_count(counts[outcome]) for outcome in OUTCOMES))
    most = max(sum(counts[outcome] for counts in report.done.values()) for outcome in OUTCOMES)
    part = f", of the newest {MOST_COUNTED:,} of an outcome" if most >= MOST_COUNTED else ""
    return _titled(table, f"Done since {_time(report.since)}{part}")


def _waiting_text(waiting: Waiting, now: datetime) -> Text:
    lines = [f"Due: {_counts(waiting.due)}."]
    if waiting.oldest_due:
        lines[0] += f" The oldest has waited {int((now - waiting.oldest_due).total_seconds())} s."
    if waiting.running:
        lines.append(f"Being done: {_counts(waiting.running)}.")
    if waiting.postponed:
        lines.append(
            f"Postponed: {_counts(waiting.postponed)}. Causes: {_counts(waiting.postponed_by_cause)}. "
            f"The next is tried at {_time(waiting.next_retry)}."
        )
    return Text("\n".join(["Waits", *lines, ""]))


def _failed_table(failed: Sequence[FailedWork]) -> RenderableType:
    if not failed:
        return Text("Failed, to be repaired: nothing.\n")
    table = _table("cause", "action", "number", "latest", "at fault")
    for one in failed[:MOST_LINES]:
        table.add_row(escape(one.cause), one.action_type, _count(one.count), _time(one.latest), one.fault)
    if len(failed) > MOST_LINES:
        table.add_row(f"and {len(failed) - MOST_LINES} more: see --json")
    examples = [
        f"{one.cause}: {one.sentence} `bursary timeline {one.example}`" for one in failed[:MOST_LINES]
    ]
    return Group(
        _titled(table, "Failed, to be repaired: most first"),
        Text("\n".join([*examples, *_remedies({one.cause for one in failed}), ""])),
    )


def _remedies(found: Collection[str]) -> list[str]:
    """Return what to do about these causes, a line each."""
    remedies = [words for cause, words in REMEDIES.items() if cause in found]
    if set(found) - set(REMEDIES):
        others = "The others: look" if remedies else "Look"
        remedies.append(
            f"{others} at one, repair what is at fault, then: `bursary retry_failed --cause CODE`."
        )
    return remedies


def _task_table(tasks: Sequence[TaskLine]) -> RenderableType:
    if not tasks:
        return Text(f"Scheduled tasks: none has run yet; {RUN_BY.get(settings.CLOCK, 'cron runs them')}.")
    table = _table("task", "last run", "next", "failures", "last error")
    for one in tasks:
        due = f"[red]{_time(one.due_at)} late[/]" if one.late else _time(one.due_at)
        last_error = shortened(one.last_error)
        table.add_row(one.name, _time(one.finished_at), due, _count(one.failures), last_error)
    return _titled(table, "Scheduled tasks")


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False)


def _titled(table: Table, title: str) -> Group:
    return Group(Text(title, style="bold"), table, Text())


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_count(count)} {what or 'unknown'}" for what, count in counts.items()) or "nothing"


def _count(count: int) -> str:
    shown = f"{count} or more" if count >= MOST_COUNTED else str(count)
    return shown if count else ""


def _time(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M}" if instant else ""
