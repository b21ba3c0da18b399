"""The report of `bursary status` on the screen: first problems, then waiting work, then finished work."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from textwrap import wrap

from django.conf import settings
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bursary.ops import console, status_report
from bursary.ops.console import counted_in_words
from bursary.ops.health import OK
from bursary.ops.status_report import OUTCOMES, FailedWork, StatusReport, TaskLine, Waiting

HOUR = timedelta(hours=1)
MAX_LINES = 10  # of error codes
PROBLEMS: Mapping[str, str] = {
    "database_unavailable": "The database does not answer.",
    "disk_full": "The disk of the database or of the mails is full: free some space.",
    "folder_not_writable": "The folder of the database or of the mails cannot be written.",
    "work_not_done": "Due work waits and none is done: do the processes run that deliver it?",
    "tasks_late": "Scheduled tasks are late or keep failing: see below.",
    "broker_unreachable": "The broker takes no wake-ups: work waits until it is back. None is lost.",
    "work_dated_ahead": "A clock that was ahead dated work, which waits until then: see the manual.",
}
"""What to do about each problem code of `health`, except the mail server's."""
RUN_BY: Mapping[str, str] = {
    "thread": "`bursary serve` runs them",
    "celery": "`bursary worker` runs them, woken by `bursary beat`",
}
REMEDIES: Mapping[str, str] = {
    "address_rejected": "address_rejected: a retry would fail again. Correct the address, which invites the "
    "learner there: `bursary correct_address OLD NEW`.",
    "ledger_refused": "ledger_refused: no retry. The learner can accept again.",
}
"""What to do about errors that a retry does not repair, by error code."""
_COMMAND = re.compile("`[^`]*`")
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class _Lines:
    """Lines that are wrapped between words, and not within a command in backticks: it is to be copied."""

    lines: Sequence[str]

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            joined = _COMMAND.sub(lambda command: command[0].replace(" ", NO_BREAK), line)
            parts = wrap(joined, options.max_width, break_long_words=False, break_on_hyphens=False)
            yield Text("\n".join(parts).replace(NO_BREAK, " "), no_wrap=True, overflow="ignore")


def render(report: StatusReport) -> RenderableType:
    """Return the report as one screen, with times in UTC."""
    problems = report.health.problems
    wrong = ", ".join(_wrong(report)) or "ok"
    password_text = []
    if given_up := report.password_links_given_up:
        line = f"Links to set a password that could not be sent, given up: {_count(given_up)}. Their users "
        more = "asked for them, and may ask again once mails go out; the log names the accounts.\n"
        password_text.append(Text(line + more))
    return Group(
        Text(f"{wrong} at {_time(report.now)} UTC, as all times here.", style="bold"),
        Text("\n".join([*(PROBLEMS[code] for code in problems if code in PROBLEMS), ""])),
        *_mail_text(report),
        *password_text,
        _failed_table(report.failed),
        _task_table(report.tasks),
        _waiting_text(report.waiting, report.now),
        _done_text(report),
    )


def _wrong(report: StatusReport) -> Iterator[str]:
    """Yield each problem in a few words."""
    found = report.health
    if found.status != OK:
        yield found.status
    failing = sum(_is_troubled(one) for one in report.tasks)
    for count, one, many in (
        (sum(one.count for one in report.failed), "failure to repair", "failures to repair"),
        (failing, "task late or failing", "tasks late or failing"),
        (
            found.catalog_alarms or 0,
            "catalog without much of what it had",
            "catalogs without much of what they had",
        ),
        (report.password_links_given_up, "password link given up", "password links given up"),
    ):
        if count:
            yield f"{_count(count)} {one if count == 1 else many}"


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


def _done_text(report: StatusReport) -> Text:
    counted = {
        outcome: {kind: counts[outcome] for kind, counts in report.done.items() if counts[outcome]}
        for outcome in OUTCOMES
    }
    most = max(sum(counts.values()) for counts in counted.values())
    part = (
        f", of the newest {status_report.MAX_COUNTED:,} of an outcome"
        if most >= status_report.MAX_COUNTED
        else ""
    )
    lines = [f"{outcome}: {_counts(counts)}." for outcome, counts in counted.items() if counts]
    return Text("\n".join([f"Since {_time(report.since)}{part}", *(lines or ["done: nothing."])]))


def _waiting_text(waiting: Waiting, now: datetime) -> Text:
    if not (waiting.due or waiting.running or waiting.postponed):
        return Text("Nothing waits.\n")
    lines = [f"Due: {_counts(waiting.due)}."]
    if waiting.oldest_due:
        lines[0] += f" The oldest has waited {int((now - waiting.oldest_due).total_seconds())} s."
    if waiting.running:
        lines.append(f"Being done: {_counts(waiting.running)}.")
    if postponed := sum(waiting.postponed.values()):
        examined = min(postponed, status_report.MAX_EXAMINED)
        untried = examined - sum(waiting.postponed_by_cause.values())
        why = waiting.postponed_by_cause | ({"not tried yet": untried} if untried else {})
        lines += [
            f"Postponed: {_counts(waiting.postponed)}. The next is tried at {_time(waiting.next_retry)}.",
            f"Why{f', of {examined} of them' if examined < postponed else ''}: {_counts(why)}.",
        ]
    return Text("\n".join(["Waits", *lines, ""]))


def _failed_table(failed: Sequence[FailedWork]) -> RenderableType:
    if not failed:
        return Text("Failed, to be repaired: nothing.\n")
    table = _table("cause", "action", "number", "latest", "at fault")
    for one in failed[:MAX_LINES]:
        table.add_row(escape(one.cause), one.action_type, _count(one.count), _time(one.latest), one.fault)
    if len(failed) > MAX_LINES:
        table.add_row(f"and {len(failed) - MAX_LINES} more: see --json")
    examples = [
        f"{one.cause}, {one.action_type}: {one.sentence} `bursary timeline {one.example}`"
        for one in failed[:MAX_LINES]
    ]
    return Group(
        _titled(table, "Failed, to be repaired: most first"),
        _Lines([*examples, *_remedies(failed), ""]),
    )


def _remedies(failed: Sequence[FailedWork]) -> list[str]:
    """Return what to do about this failed work, one line for each remedy."""
    in_time = {one.cause for one in failed if one.count > one.too_late}
    remedies = [words for cause, words in REMEDIES.items() if cause in in_time]
    if in_time - set(REMEDIES):
        others = "The others: look" if remedies else "Look"
        remedies.append(
            f"{others} at one, repair what is at fault, then: `bursary retry_failed --cause CODE`."
        )
    if late := sum(one.too_late for one in failed):
        when = " once the others are repaired" if in_time else ""
        remedies.append(
            f"Too late for a retry, as the deadline has passed or the course has started: {_count(late)}. "
            f"Skip {'it' if late == 1 else 'them'}{when}: `bursary skip_failed`."
        )
    return remedies


def _task_table(tasks: Sequence[TaskLine]) -> RenderableType:
    if not tasks:
        how = RUN_BY.get(settings.CLOCK, "cron runs them")
        return _Lines([f"Scheduled tasks: none has run yet; {how}.", ""])
    troubled = [one for one in tasks if _is_troubled(one)]
    if not troubled:
        ran = max((one.finished_at for one in tasks if one.finished_at), default=None)
        return Text(f"Scheduled tasks: none is late or fails. The last one ran at {_time(ran)}.\n")
    table = _table("task", "last run", "next", "failures", "last error")
    for one in troubled:
        due = f"[red]{_time(one.due_at)} late[/]" if one.late else _time(one.due_at)
        last_error = escape(one.last_error)
        table.add_row(one.name, _time(one.finished_at), due, _count(one.failures), last_error)
    return _titled(table, "Scheduled tasks that are late or fail")


def _is_troubled(task: TaskLine) -> bool:
    return bool(task.late or task.failures or task.last_error)


def _table(*columns: str) -> Table:
    return console.table(*columns, box=None, pad_edge=False)


def _titled(table: Table, title: str) -> Group:
    return Group(Text(title, style="bold"), table, Text())


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_count(count)} {what or 'unknown'}" for what, count in counts.items()) or "nothing"


def _count(count: int) -> str:
    shown = f"{count} or more" if count >= status_report.MAX_COUNTED else str(count)
    return shown if count else ""


def _time(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M}" if instant else ""
