"""Bulk work: the same work on many assignments, with its question, its batches, and its result in words.

Selected assignments are one batch. All assignments that match a filter are processed in batches by primary
key. Each batch is a request of its own, so that the page shows progress and a long list has no time-out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Count, Max, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from bursary.access.models import User
from bursary.access.permissions import Permission
from bursary.assignments import cancellation, content_display, extension, failures, reminders
from bursary.assignments.choices import ExpiryReason, LearnerState, State
from bursary.assignments.extension import ExtensionRefusal, Span
from bursary.assignments.failures import RepairRefusal
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.dashboard import bulk_questions
from bursary.lib import moments
from bursary.lib.batches import keyset_pages

BATCH = 500

REFUSALS: Mapping[str, Any] = {
    "unknown": gettext_lazy("It is not there any more."),
    "forgotten": gettext_lazy("Its learner's name was removed for data protection."),
    "being redeemed": gettext_lazy("The learner is accepting it now."),
    "past its deadline": gettext_lazy("Its deadline has passed."),
    "from a budget that is not in use": gettext_lazy("Its budget is not in use."),
    State.ACCEPTED: gettext_lazy("The learner has accepted it."),
    State.CANCELLED: gettext_lazy("It is cancelled."),
    State.EXPIRED: gettext_lazy("It has expired."),
    State.REVERSED: gettext_lazy("It was refunded."),
    RepairRefusal.NOTHING_FAILED: gettext_lazy("Nothing of it failed."),
    RepairRefusal.TOO_LATE: gettext_lazy("It is too late for what failed: skip it instead."),
    RepairRefusal.ONLY_BY_LEARNER: gettext_lazy("Accepting it failed: only the learner can do that again."),
    ExtensionRefusal.EXPIRED: gettext_lazy("Its deadline has passed: assign the course again."),
    ExtensionRefusal.NOT_LATER: gettext_lazy("Its deadline is not before that day."),
    ExtensionRefusal.BOUND_BY_ENROLMENT: gettext_lazy("Enrolment in its course closes at its deadline."),
    ExtensionRefusal.BOUND_BY_BUDGET: gettext_lazy("Its budget ends at its deadline."),
}
"""By reason, a sentence on why an assignment was not changed."""

_SHORTER: Mapping[str, Any] = {
    ExpiryReason.ENROLL_BY: gettext_lazy("Extended to %(moment)s only: enrolment in its course closes then."),
    ExpiryReason.BUDGET_END: gettext_lazy("Extended to %(moment)s only: its budget ends then."),
}

KINDS = ("refused", "otherwise", "unchanged")
"""The kinds of remarks: not changed; changed, but not as requested; no change needed."""


@dataclass(frozen=True)
class Remark:
    """An assignment, and a sentence on what was done with it, or why nothing was done."""

    assignment: LearnerContentAssignment
    kind: str
    """One of `KINDS`."""
    sentence: str


@dataclass
class BatchResult:
    """The result of a batch: the numbers of assignments done, unchanged, and refused."""

    done: int = 0
    unchanged: int = 0
    refused: int = 0
    remarks: list[Remark] = field(default_factory=list)
    """Remarks on assignments that were not changed, or not as requested."""
    last: int = 0
    """The greatest primary key of the batch; 0 if it was the last batch."""


@dataclass(frozen=True)
class _Outcome:
    done: int
    unchanged: Sequence[UUID]
    refused: Mapping[UUID, str]
    otherwise: Mapping[UUID, str] = field(default_factory=dict)
    """Sentences on assignments that were done, but not as requested."""


@dataclass(frozen=True)
class BulkRequest:
    """The arguments of a verb's function: the answer, the user, and the turn of its mails."""

    given: str
    """The answer to the verb's question, such as a reason; empty if it has none."""
    now: datetime
    actor: User
    dedup_key: str
    """The same for all batches of a question, also for repeated ones."""
    turn: int
    """The number of assignments done in earlier batches."""


Work = Callable[[Budget, Sequence[UUID], BulkRequest], _Outcome]
"""The function that does a verb's work, by calling the same function as the API."""


@dataclass(frozen=True)
class Verb:
    """A kind of bulk work: its words, its permission, and its function."""

    name: str
    permission: Permission
    button: Any
    consequence: Any
    done: Any
    unchanged: Any
    """Why some assignments needed no change."""
    question: Callable[[int], str]
    applies: Q
    """With a filter, only assignments that fulfil this are processed; selected others are refused by name."""
    work: Work
    asks: str = ""
    """The field to fill in at the question: `until` (a day or span), `reason`, or nothing."""
    caution: Callable[[QuerySet[LearnerContentAssignment], datetime], str] = lambda _rows, _now: ""
    """Return what to consider before confirming; empty for nothing."""
    ready: Callable[[QuerySet[LearnerContentAssignment], datetime], int] | None = None
    """Return the number of assignments to be changed, if not all without a refusal are. One query."""
    refusals: Callable[[QuerySet[LearnerContentAssignment], datetime], Mapping[str, int]] = (
        lambda rows, _now: bulk_questions.ended_by_state(rows)
    )
    """Return the number of refusals by reason, which is a key of `REFUSALS`. At most two queries."""

    def title(self, result: BatchResult, *, count: int) -> str:
        """Return the result for `count` assignments, as a page's title."""
        if not result.done:
            return _("Nothing was done")
        text = _("%(done)s: %(some)s of %(all)s") if result.done < count else _("%(done)s: %(all)s")
        return text % {"done": self.done, "some": f"{result.done:,}", "all": f"{count:,}"}

    def rest_in_words(self, result: BatchResult) -> str:
        """Return the rest of the result, beside `title`, in one or two sentences; empty for nothing."""
        parts = [f"{self.unchanged}: {result.unchanged:,}."] if result.unchanged else []
        if result.refused:
            text = ngettext(
                "%(count)s was left as it is.", "%(count)s were left as they are.", result.refused
            )
            parts.append(text % {"count": f"{result.refused:,}"})
        return " ".join(parts)


def _remind(budget: Budget, uuids: Sequence[UUID], asked: BulkRequest) -> _Outcome:
    found = reminders.remind(budget, uuids=uuids, now=asked.now, actor=asked.actor, turn=asked.turn)
    return _Outcome(len(found.requested), found.on_their_way, found.refused)


def _cancel(budget: Budget, uuids: Sequence[UUID], asked: BulkRequest) -> _Outcome:
    found = cancellation.cancel(budget, uuids=uuids, now=asked.now, actor=asked.actor, turn=asked.turn)
    unchanged = [one.uuid for one in found.unchanged]
    return _Outcome(len(found.cancelled), unchanged, found.refused)


def _retry(budget: Budget, uuids: Sequence[UUID], asked: BulkRequest) -> _Outcome:
    found = failures.retry(budget, uuids=uuids, now=asked.now, actor=asked.actor, turn=asked.turn)
    return _Outcome(len(found.repaired), (), found.refused)


def _skip(budget: Budget, uuids: Sequence[UUID], asked: BulkRequest) -> _Outcome:
    found = failures.skip(budget, uuids=uuids, reason=asked.given, now=asked.now, actor=asked.actor)
    return _Outcome(len(found.repaired), (), found.refused)


def _extend(budget: Budget, uuids: Sequence[UUID], asked: BulkRequest) -> _Outcome:
    until = extended_to(asked.given, zone=budget.customer.zone)
    found = extension.extend(
        budget, uuids=uuids, until=until, now=asked.now, actor=asked.actor, dedup_key=asked.dedup_key
    )
    shorter = {
        one.assignment: _SHORTER[one.decided_by]
        % {"moment": moments.in_words(one.new, zone=budget.customer.zone)}
        for one in found.extended
        if one.decided_by in _SHORTER
    }
    return _Outcome(len(found.extended), found.unchanged, found.refused, shorter)


def extended_to(given: str, *, zone: ZoneInfo) -> datetime | Span:
    """Return the new deadline: a span to add, or the end of a day. Raises ValueError."""
    return Span(given) if given in set(Span) else moments.parse(given, zone=zone, end_of_day=True)


VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "remind",
            Permission.REMIND,
            gettext_lazy("Remind"),
            gettext_lazy(
                "Each learner who has not answered gets an e-mail with the course, the deadline and a link. "
                "Within ten minutes of another one, none is sent."
            ),
            gettext_lazy("Reminded"),
            gettext_lazy("Had an e-mail a moment ago"),
            lambda count: (
                ngettext(
                    "Remind the learner of one assignment?",
                    "Remind the learners of %(count)s assignments?",
                    count,
                )
                % {"count": count}
            ),
            Q(state=State.ALLOCATED, learner_state=LearnerState.WAITING),
            _remind,
            caution=bulk_questions.reminded_lately,
            ready=bulk_questions.to_be_reminded,
        ),
        Verb(
            "cancel",
            Permission.CANCEL,
            gettext_lazy("Cancel"),
            gettext_lazy(
                "The money is free at once. Where an e-mail was sent about it, another one says that it was "
                "cancelled. What was accepted or has ended stays as it is."
            ),
            gettext_lazy("Cancelled"),
            gettext_lazy("Cancelled before"),
            lambda count: (
                ngettext("Cancel one assignment?", "Cancel %(count)s assignments?", count) % {"count": count}
            ),
            Q(state=State.ALLOCATED),
            _cancel,
            caution=bulk_questions.freed_money,
        ),
        Verb(
            "retry",
            Permission.ALLOCATE,
            gettext_lazy("Retry"),
            gettext_lazy("What failed is tried again. A mail goes to the same address as before."),
            gettext_lazy("Retried"),
            gettext_lazy("Nothing to do"),
            lambda count: (
                ngettext("Retry one assignment?", "Retry %(count)s assignments?", count) % {"count": count}
            ),
            Q(failures.with_failures()),
            _retry,
            caution=bulk_questions.old_failures,
            refusals=lambda rows, now: failures.expected_refusals(rows, late=failures.too_late(now)),
        ),
        Verb(
            "extend",
            Permission.ALLOCATE,
            gettext_lazy("Extend"),
            gettext_lazy(
                "Learners can accept until the end of the new day, unless enrolment closes or the budget "
                "ends before. The links in earlier mails work until then. No e-mail is sent about it."
            ),
            gettext_lazy("Extended"),
            gettext_lazy("Extended before"),
            lambda count: (
                ngettext(
                    "Extend the deadline of one assignment?",
                    "Extend the deadline of %(count)s assignments?",
                    count,
                )
                % {"count": count}
            ),
            Q(state=State.ALLOCATED),
            _extend,
            asks="until",
            refusals=lambda rows, _now: extension.expected_refusals(rows),
        ),
        Verb(
            "skip",
            Permission.ALLOCATE,
            gettext_lazy("Skip"),
            gettext_lazy(
                "What failed is left as it is, and counts as failed no more. The reason stays on the "
                "timeline. If the learner was never notified, cancel the assignment to free its money."
            ),
            gettext_lazy("Skipped"),
            gettext_lazy("Nothing to do"),
            lambda count: (
                ngettext(
                    "Skip what failed of one assignment?", "Skip what failed of %(count)s assignments?", count
                )
                % {"count": count}
            ),
            Q(failures.with_failures()),
            _skip,
            asks="reason",
            refusals=lambda rows, _now: failures.expected_refusals(rows),
        ),
    )
}


@dataclass(frozen=True)
class Extent:
    """The number of assignments, and the greatest of their primary keys; None if there are none."""

    count: int
    last: int | None


def extent(rows: QuerySet[LearnerContentAssignment]) -> Extent:
    """Return the extent of the rows. One query."""
    found = rows.order_by().aggregate(count=Count("pk"), last=Max("pk"))
    return Extent(found["count"], found["last"])


def do_batch(
    verb: Verb,
    rows: QuerySet[LearnerContentAssignment],
    *,
    after: int,
    given: str,
    now: datetime,
    actor: User,
    turn: int = 0,
    dedup_key: str = "",
) -> BatchResult:
    """Process the first `BATCH` of `rows` above the primary key `after`, budget by budget.

    `turn` is passed to `actions.request`. A batch that is repeated with its `dedup_key` is done once.
    """
    keys = rows.values_list("pk", "budget", "uuid")
    batch: list[tuple[int, int, UUID]] = next(keyset_pages(keys, size=BATCH, after=after), [])
    uuids: dict[int, list[UUID]] = {}
    for _pk, budget_pk, uuid in batch:
        uuids.setdefault(budget_pk, []).append(uuid)
    result = BatchResult()
    sentences: dict[UUID, tuple[str, str]] = {}
    budgets = Budget.objects.select_related("customer").in_bulk(uuids)
    for budget_pk, named in sorted(uuids.items()):
        asked = BulkRequest(given, now, actor, dedup_key, turn=turn + result.done)
        outcome = verb.work(budgets[budget_pk], named, asked)
        result.done += outcome.done
        result.unchanged += len(outcome.unchanged)
        result.refused += len(outcome.refused)
        for uuid, why in outcome.refused.items():
            sentences[uuid] = ("refused", str(REFUSALS.get(why, _("It cannot be done."))))
        sentences |= {uuid: ("otherwise", sentence) for uuid, sentence in outcome.otherwise.items()}
        sentences |= dict.fromkeys(outcome.unchanged, ("unchanged", ""))
    result.remarks = remarks(sentences, now=now)
    result.last = batch[-1][0] if len(batch) == BATCH else 0
    return result


def remarks(sentences: Mapping[UUID, tuple[str, str]], *, now: datetime) -> list[Remark]:
    """Return the remarks with these kinds and sentences, sorted by kind and primary key."""
    if not sentences:
        return []
    rows = LearnerContentAssignment.objects.filter(uuid__in=sentences).select_related("content", "budget")
    found = list(rows.defer("content__payload").order_by("pk"))
    content_display.load_shown_content(found, now=now)
    return sorted((Remark(one, *sentences[one.uuid]) for one in found), key=lambda one: KINDS.index(one.kind))
