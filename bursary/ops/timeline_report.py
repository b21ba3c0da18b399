"""The report of `bursary timeline`: an assignment and its actions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.delivery.emails import deadline_text
from bursary.lib import moments
from bursary.lib.money import dollars
from bursary.ops import console

WIDTH_OF_TABLE = 110  # columns; on a narrower terminal, actions are printed as lines
COLOURS = {Status.DONE: "green", Status.FAILED: "red", Status.PENDING: "yellow", Status.RUNNING: "yellow"}


@dataclass(frozen=True)
class TimelineReport:
    """An assignment and its actions, in their order."""

    assignment: LearnerContentAssignment
    actions: Sequence[LearnerContentAssignmentAction]

    @property
    def declined(self) -> bool:
        """Whether the learner declined it: see `matching.which_declined`."""
        now = (ActionType.DECLINED, self.assignment.cycle)
        return self.assignment.state == State.CANCELLED and now in {
            (action.action_type, action.cycle) for action in self.actions
        }

    def action_of(self, text: str) -> LearnerContentAssignmentAction | None:
        """Return the action that the text identifies, by its id or by the mail provider's name for it."""
        named = text.strip().lower()
        of_mail = (one for one in self.actions if one.provider_ref and one.provider_ref.lower() == named)
        return next((one for one in self.actions if str(one.uuid) in named), next(of_mail, None))


def load(uuid: UUID) -> TimelineReport:
    """Return an assignment's report, with two queries. Raises LearnerContentAssignment.DoesNotExist."""
    assignment = (
        LearnerContentAssignment.objects.select_related("budget__customer", "content")
        .defer("content__payload")
        .get(uuid=uuid)
    )
    return TimelineReport(assignment, list(assignment.actions.timeline().defer("payload")))


def summary(report: TimelineReport, *, traces: bool) -> dict[str, object]:
    """Return the report as plain values, with stack traces only if `traces`."""
    assignment = report.assignment
    return {
        "assignment": {
            "uuid": assignment.uuid,
            "budget": assignment.budget.uuid,
            "content_key": assignment.content_key,
            "learner_email": assignment.learner_email,
            "price_cents": assignment.price_cents,
            "state": assignment.state,
            "cycle": assignment.cycle,
            "expires_at": assignment.expires_at,
            "expires_reason": assignment.expires_reason,
        },
        "actions": [_action(action, traces=traces) for action in report.actions],
    }


def render(report: TimelineReport, *, traces: bool, asked: str = "") -> RenderableType:
    """Return the report as a heading and the actions; with `traces`, stack traces follow.

    If `asked` is the id of an action, the heading names the action.
    """
    zone = report.assignment.budget.customer.zone
    parts: list[RenderableType] = [_heading(report)]
    if named := report.action_of(asked):
        parts.append(Text(f"The id is of the action {_kind(named)}, created {_time(named.created, zone)}.\n"))
    parts.append(_Actions(report.actions, zone))
    for action in report.actions:
        if traces and (trace := action.last_error["traceback"].rstrip()):
            parts += [
                Text(f"\n{action.action_type}, {_time(action.created, zone)}", style="bold"),
                Text(trace),
            ]
    return Group(*parts)


def _action(action: LearnerContentAssignmentAction, *, traces: bool) -> dict[str, object]:
    error = action.last_error
    values: dict[str, object] = {
        "uuid": action.uuid,
        "type": action.action_type,
        "cycle": action.cycle,
        "occasion": action.dedup_key,
        "content_run_key": action.content_run_key or None,
        "status": action.status,
        "created": action.created,
        "completed_at": action.completed_at,
        "due_at": action.due_at,
        "attempts": action.attempts,
        "recipient": action.recipient,
        "error_reason": action.error_reason or None,
        "cause": error["error_code"] or None,
        "detail": error["detail"] or None,
    }
    return values | {"traceback": error["traceback"].rstrip() or None} if traces else values


def _heading(report: TimelineReport) -> Text:
    assignment, content = report.assignment, report.assignment.content
    state = "declined" if report.declined else assignment.state
    if assignment.state == State.ALLOCATED:
        deadline = deadline_text(assignment)
        state = f"{state}; until {deadline.when}: {deadline.because}"
    return Text.assemble(
        (f"{content.title if content else assignment.content_key}\n", "bold"),
        f"for {assignment.learner_email}, {dollars(assignment.price_cents)} from "
        f"{assignment.budget.name} ({assignment.budget.customer.name})\n",
        f"{state}\n",
    )


@dataclass(frozen=True)
class _Actions:
    """The actions as a table or, on a narrow terminal, as lines, so that no text is cut off."""

    actions: Sequence[LearnerContentAssignmentAction]
    zone: ZoneInfo

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._table() if options.max_width >= WIDTH_OF_TABLE else self._lines()

    def _table(self) -> Table:
        created = f"created ({moments.zone_in_words(self.zone)})"
        table = console.table(created, "completed", "action", "status", "attempts", "error code", "detail")
        for action in self.actions:
            table.add_row(
                _time(action.created, self.zone),
                _time(action.completed_at, self.zone),
                _kind(action),
                self._status(action),
                str(action.attempts or ""),
                escape(action.last_error["error_code"]),
                escape(_detail(action)),
            )
        return table

    def _lines(self) -> Group:
        lines: list[RenderableType] = [f"{moments.zone_in_words(self.zone)}:"]
        for action in self.actions:
            parts = [_time(action.created, self.zone), _kind(action), self._status(action)]
            if action.completed_at and action.completed_at != action.created:
                parts.append(_time(action.completed_at, self.zone))
            if action.attempts > 1:
                parts.append(f"{action.attempts} attempts")
            lines.append("  ".join(parts))
            if why := ": ".join(filter(None, [action.last_error["error_code"], _detail(action)])):
                lines.append(Padding(escape(why), (0, 0, 0, 4)))
        return Group(*lines)

    def _status(self, action: LearnerContentAssignmentAction) -> str:
        retried = action.status == Status.PENDING and action.attempts
        status = f"retry {_time(action.due_at, self.zone)}" if retried else action.status
        return f"[{COLOURS.get(Status(action.status), 'dim')}]{status}[/]"


def _kind(action: LearnerContentAssignmentAction) -> str:
    return action.action_type if action.cycle == 1 else f"{action.action_type} ({action.cycle})"


def _detail(action: LearnerContentAssignmentAction) -> str:
    by_run = f"by run {action.content_run_key}" if action.content_run_key else ""
    return " ".join(filter(None, [by_run, action.last_error["detail"]]))


def _time(instant: datetime | None, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M:%S}" if instant else ""
