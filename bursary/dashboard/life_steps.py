"""The steps of an assignment's present cycle, which its page draws, and the lines between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bursary.assignments import error_texts
from bursary.assignments.choices import ActionType, LearnerState, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.dashboard import timeline_entries
from bursary.lib import moments

MAX_STEPS = 8
FIRST_STEPS = 3
"""If there are too many steps, so many are drawn first; the last ones, today and the deadline follow."""
_OVER = ("accepted", "ended")

_DONE: Mapping[str, Any] = {
    ActionType.NOTIFIED: gettext_lazy("Notified"),
    ActionType.REMINDED: gettext_lazy("Reminded"),
    ActionType.NUDGED: gettext_lazy("Mail before the start"),
    ActionType.EMAIL_CORRECTED: gettext_lazy("Address corrected"),
    ActionType.DEADLINE_EXTENDED: gettext_lazy("Deadline extended"),
    ActionType.BOUNCED: gettext_lazy("A mail came back"),
}
_FAILED: Mapping[str, Any] = {
    ActionType.LEARNER_LINKED: gettext_lazy("Adding the learner failed"),
    ActionType.NOTIFIED: gettext_lazy("Notifying failed"),
    ActionType.REMINDED: gettext_lazy("Reminding failed"),
    ActionType.NUDGED: gettext_lazy("Mail before the start failed"),
    ActionType.REDEEMED: gettext_lazy("Accepting failed"),
    ActionType.CANCELLATION_NOTIFIED: gettext_lazy("Mail about the cancellation failed"),
    ActionType.EXPIRATION_NOTIFIED: gettext_lazy("Mail about the expiry failed"),
}
_ENDS: Mapping[str, tuple[str, Any, str]] = {
    State.ACCEPTED: ("accepted_at", gettext_lazy("Accepted"), "accepted"),
    State.CANCELLED: ("cancelled_at", gettext_lazy("Cancelled"), "ended"),
    State.EXPIRED: ("expired_at", gettext_lazy("Expired"), "ended"),
    State.REVERSED: ("reversed_at", gettext_lazy("Refunded"), "ended"),
}
_END_FACTS: Mapping[str, str] = {
    State.ACCEPTED: ActionType.REDEEMED,
    State.CANCELLED: ActionType.CANCELLED,
    State.EXPIRED: ActionType.EXPIRED,
    State.REVERSED: ActionType.REVERSED,
}
"""The action by which an assignment came to this state."""


@dataclass(frozen=True)
class LifeStep:
    """A step. `kind` is one of done, failed, waiting, accepted, ended, future and now."""

    label: str
    kind: str
    at: datetime
    note: str = ""
    """The cause of a failure, in words."""
    wait: str = ""
    """The time since the step before, or from now, in words; empty for the first step."""
    line: str = ""
    """The kind of the line to the next step: notifying, waiting, future or past; empty for the last step."""


@dataclass(frozen=True)
class LifeSteps:
    """The steps in their order."""

    steps: Sequence[LifeStep]
    more: int
    """The number of steps that are left out, between the first and the last ones."""
    on_one_day: bool
    """Whether all steps are on one day in the organisation's time zone, so that hours are shown."""


def steps_of(assignment: LearnerContentAssignment, *, now: datetime) -> LifeSteps:
    """Return the steps of an assignment's present cycle; it is loaded with its actions."""
    this_cycle = [one for one in assignment.actions.all() if one.cycle == assignment.cycle]
    steps = [LifeStep(_("Assigned"), "done", assignment.allocated_at)]
    ends = _ends(assignment)
    for one in this_cycle:
        steps += ends.pop(one.action_type, [])  # before the actions that followed from it
        steps += [step for step in [_step(one)] if step]
    steps += [step for rest in ends.values() for step in rest]
    # Within a second, the timeline's order: work that was done at once may have an earlier fraction.
    steps.sort(key=lambda step: step.at.replace(microsecond=0))
    left_out = max(len(steps) - MAX_STEPS, 0)
    steps = steps[:FIRST_STEPS] + steps[FIRST_STEPS + left_out :]
    if assignment.state == State.ALLOCATED:
        passed = assignment.expires_at <= now
        label = _("Deadline passed") if passed else _("Deadline")
        steps += [LifeStep(label, "future", assignment.expires_at), LifeStep(_("Today"), "now", now)]
        steps.sort(key=lambda step: step.at)
    days = {one.at.astimezone(assignment.budget.customer.zone).date() for one in steps}
    return LifeSteps(_with_lines(_with_waits(steps), now=now), left_out, on_one_day=len(days) == 1)


def _step(action: LearnerContentAssignmentAction) -> LifeStep | None:
    """Return the step for an action; None for actions that only the timeline shows."""
    kind, at = action.action_type, timeline_entries.happened_at(action)
    if action.status == Status.FAILED and kind in _FAILED:
        why = str(error_texts.for_code(action.error_code).sentence)
        return LifeStep(str(_FAILED[kind]), "failed", at, why)
    if action.status == Status.DONE and kind in _DONE:
        return LifeStep(str(_DONE[kind]), "failed" if kind == ActionType.BOUNCED else "done", at)
    if action.status == Status.PENDING and action.attempts:
        return LifeStep(_("Not sent yet, tried again"), "waiting", at)
    return None


def _ends(assignment: LearnerContentAssignment) -> dict[str, list[LifeStep]]:
    """Return the end of its present cycle, by action type; for a refund, also the step of accepting."""
    state = State(assignment.state)
    found = [State.ACCEPTED, state] if state is State.REVERSED else [state]
    steps: dict[str, list[LifeStep]] = {}
    for one in found:
        if one in _ENDS and (at := getattr(assignment, _ENDS[one][0])):
            _column, words, kind = _ENDS[one]
            declined = assignment.learner_state == LearnerState.DECLINED
            label = _("Declined") if declined else str(words)
            fact = ActionType.DECLINED if declined else _END_FACTS[one]
            steps[fact] = [LifeStep(label, kind, at)]
    return steps


def _with_waits(steps: Sequence[LifeStep]) -> list[LifeStep]:
    """Return the steps, each with the time since the step before it."""
    now = next((one.at for one in steps if one.kind == "now"), None)
    found = [steps[0]]
    for before, one in pairwise(steps):
        from_now = now if now and one.at > now else None
        since = from_now or before.at
        wait = _("at once") if one.kind != "now" else ""
        if (one.at - since).total_seconds() >= 60:
            words = _("in %(span)s") if from_now else _("%(span)s later")
            wait = words % {"span": moments.span_in_words(since, one.at)}
        found.append(replace(one, wait=wait))
    return found


def _with_lines(steps: Sequence[LifeStep], *, now: datetime) -> list[LifeStep]:
    """Return the steps, each with the line to the next one."""
    found = []
    notified = False
    for one, after in pairwise(steps):
        notified = notified or one.label == str(_DONE[ActionType.NOTIFIED])
        line = "future" if after.at > now else "waiting" if notified else "notifying"
        found.append(replace(one, line="past" if one.kind in _OVER else line))
    return [*found, steps[-1]]
