"""The commands that repair failed work: all that the options select, once its number is confirmed."""

from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any, ClassVar
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.db.models import Case, Count, F, Q, QuerySet, TextField, Value, When
from django.utils import timezone

from bursary.assignments import failures
from bursary.assignments.choices import WORK, ActionType
from bursary.assignments.failures import RepairRefusal, RepairResult
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from bursary.delivery.errors import FAULTS
from bursary.lib.batches import keyset_pages
from bursary.ops import timeline_ids
from bursary.ops.console import OperatorCommand, counted_in_words, counts_in_words, number
from bursary.ops.status_screen import REMEDIES

UUIDS_PER_PAGE = 1000
MAX_IDS = 100  # ids on a command line
MAX_NAMED = 1000  # failures, or refusals, in the output; the counts cover all
_NONE = Q(pk__in=())
_NO_REDEMPTION = ~Q(action_type=ActionType.REDEEMED)


def add_confirm(parser: CommandParser) -> None:
    """Add --confirm N."""
    parser.add_argument(
        "--confirm",
        type=number,
        metavar="N",
        help="Do it if it changes exactly N assignments; without it, count them and change nothing.",
    )


def require_confirmed(confirmed: int, *, count: int, refused: Mapping[str, int]) -> None:
    """Raise CommandError unless `count` is the confirmed number; its message has the expected refusals."""
    if confirmed == count != 0:
        return
    found = counted_in_words(count, "assignment")
    sentence = f"Found {found}, instead of {confirmed}." if count else "There is nothing to do."
    raise CommandError(f"{sentence}{_refusals_in_words(refused)} Nothing was changed.")


def _refusals_in_words(refused: Mapping[str, int]) -> str:
    if not refused:
        return ""
    assignments = counted_in_words(sum(refused.values()), "assignment")
    counts = counts_in_words(refused, none="")
    return f" {assignments} would be refused: {counts}.{_remedy(refused)}"


def require_budget(uuid: UUID) -> Budget:
    """Return the budget with its customer. Raises CommandError."""
    budget = Budget.objects.select_related("customer").filter(uuid=uuid).first()
    if budget is None:
        raise CommandError(f"There is no budget {uuid}. Its page shows its uuid.")
    return budget


def pages_of(assignments: QuerySet[LearnerContentAssignment]) -> Iterator[list[UUID]]:
    """Yield the uuids of assignments in pages."""
    for page in keyset_pages(assignments.order_by().values_list("pk", "uuid"), size=UUIDS_PER_PAGE):
        yield [uuid for _pk, uuid in page]


def refused_in_words(refused: Mapping[UUID, str]) -> tuple[dict[str, object], str]:
    """Return refusals as plain values and as a sentence, which is empty if there are none."""
    counts = dict(Counter(str(why) for why in refused.values()))
    first = [{"assignment": uuid, "reason": str(why)} for uuid, why in list(refused.items())[:MAX_NAMED]]
    text = f" Refused: {counts_in_words(counts, none='none')}; --json names them." if counts else ""
    return {"refused": counts, "not_done": first}, f"{text}{_remedy(counts)}"


def _remedy(refused: Mapping[str, int]) -> str:
    if RepairRefusal.TOO_LATE not in refused:
        return ""
    # That command counts these, too.
    in_time = failures.to_repair().filter(_NO_REDEMPTION, ~failures.too_late(timezone.now()))
    when = " once the others are repaired" if in_time.exists() else ""
    return f" What is too late to repeat can only be skipped{when}: `bursary skip_failed`."


class RepairCommand(OperatorCommand):
    """A command that repairs failed work, of all error codes or some. It does not repair redemptions."""

    done: ClassVar[str]
    """The participle in the summary, such as `retried`."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        ids = "Only failed work of these assignments; `bursary timeline --help` names the ids."
        parser.add_argument("ids", nargs="*", metavar="ID", help=ids)
        of_code = "Only failed work of this cause; may be repeated."
        parser.add_argument("--cause", action="append", metavar="CODE", choices=sorted(FAULTS), help=of_code)
        parser.add_argument("--budget", type=UUID, metavar="UUID", help="Only failed work of this budget.")
        types = sorted(one.value for one in WORK - {ActionType.REDEEMED})
        parser.add_argument("--action-type", choices=types, help="Only failed work of this type.")
        add_confirm(parser)

    def run(
        self,
        *,
        ids: list[str],
        cause: list[str] | None,
        budget: UUID | None,
        action_type: str | None,
        confirm: int | None,
        **options: Any,
    ) -> None:
        which = _NO_REDEMPTION & (Q(action_type=action_type) if action_type else Q())
        of_any_code = failures.to_repair().filter(which, _named(ids)).order_by()
        if budget:
            of_any_code = of_any_code.filter(assignment__budget=require_budget(budget))
        which &= Q(error_code__in=cause) if cause else Q()
        found, late = of_any_code.filter(which), self.late(now=timezone.now())
        in_time = found.filter(~late) if late else found
        count = in_time.values("assignment").distinct().count()
        rows = LearnerContentAssignment.objects.filter(pk__in=found.values("assignment"))
        refusals = failures.expected_refusals(rows, late=late, which=which)
        if confirm is None:
            by_code = _by_code(in_time)
            found_text = self._found_in_words(count, by_code, refusals, options)
            text = found_text or _nothing_in_words(of_any_code, late=late)
            summary = {"count": count, "causes": by_code, "refused": refusals}
            summary["failed"] = _first_of(found, late=late)
            return self.answer({"dry_run": True, **summary}, text)
        require_confirmed(confirm, count=count, refused=refusals)
        total = RepairResult()
        budgets = found.values("assignment__budget")
        for one in Budget.objects.filter(pk__in=budgets).order_by("pk"):
            failed = found.filter(assignment__budget=one).values("assignment")
            for uuids in pages_of(LearnerContentAssignment.objects.filter(pk__in=failed)):
                total.add(self.repair(one, uuids, which, options, turn=len(total.repaired)))
        refused, text = refused_in_words(total.refused)
        summary = {"dry_run": False, self.done: len(total.repaired), **refused}
        return self.answer(summary, f"{len(total.repaired)} {self.done}.{text}")

    def _found_in_words(
        self, count: int, by_code: Mapping[str, int], refused: Mapping[str, int], options: Mapping[str, Any]
    ) -> str:
        """Return a sentence on the repairs and refusals to expect; empty if there are none."""
        rest = _refusals_in_words(refused)
        if not count:
            return rest.strip()
        what = f"{counted_in_words(count, 'assignment')}: {counts_in_words(by_code, none='')}."
        about = " ".join([f"Found {what}", *self.cautions(by_code)])
        return f"{about}{rest} To do it, add --confirm {count}{self.missing(options)}."

    def missing(self, options: Mapping[str, Any]) -> str:
        """Return the option that --confirm requires and that was not given; empty for none."""
        return ""

    def cautions(self, error_codes: Collection[str]) -> list[str]:
        """Return warnings about repairing work that failed with these error codes."""
        return []

    def late(self, *, now: datetime) -> Q | None:
        """Return the condition for failed work that is refused because it is too late to repair it."""
        return None

    def repair(
        self, budget: Budget, uuids: list[UUID], which: Q, options: Mapping[str, Any], *, turn: int
    ) -> RepairResult:
        """Repair the failed actions that match `which`, of these assignments; `turn` is the first's turn."""
        raise NotImplementedError


def _named(ids: Sequence[str]) -> Q:
    """Return the condition for work of the assignments that these ids identify. Raises CommandError."""
    if len(ids) > MAX_IDS:
        raise CommandError(f"These are {len(ids)} ids; give {MAX_IDS} at most. Nothing was changed.")
    found = (timeline_ids.require(one, now=timezone.now()).order_by().values("pk") for one in ids)
    return reduce(or_, (Q(assignment__in=pks) for pks in found), Q())


def _first_of(failed: QuerySet[LearnerContentAssignmentAction], *, late: Q | None) -> list[dict[str, Any]]:
    """Return the latest failures as plain values, with the assignment and the learner's present address.

    `refused` is the reason for which it would not be repaired; None if it would be.
    """
    columns = failed.values(
        "action_type",
        "completed_at",
        assignment_uuid=F("assignment__uuid"),
        learner_email=F("assignment__learner_email"),
        cause=F("error_code"),
        refused=Case(When(late or _NONE, then=Value(RepairRefusal.TOO_LATE)), output_field=TextField()),
    )
    return [dict(one) for one in columns.order_by("-completed_at", "-pk")[:MAX_NAMED]]


def _by_code(failed: QuerySet[LearnerContentAssignmentAction]) -> dict[str, int]:
    return dict(failed.values_list("error_code").annotate(count=Count("pk")))


def _nothing_in_words(others: QuerySet[LearnerContentAssignmentAction], *, late: Q | None) -> str:
    """Return the sentence that there is nothing to do, with counts of the failures of other error codes."""
    if not others.exists():
        return "Nothing failed that can be repaired: there is nothing to do."
    by_code = _by_code(others.filter(~late) if late else others)
    in_words = counts_in_words(by_code, none="none in time")
    rows = LearnerContentAssignment.objects.filter(pk__in=others.values("assignment"))
    which = Q(pk__in=others.values("pk"))
    refused = failures.expected_refusals(rows, late=late, which=which)
    return f"Nothing failed by this cause. By others: {in_words}.{_refusals_in_words(refused)}"


class RetryCommand(RepairCommand):
    """A command that retries failed work."""

    done = "retried"

    def cautions(self, error_codes: Collection[str]) -> list[str]:
        return [words for code, words in REMEDIES.items() if code in error_codes]

    def late(self, *, now: datetime) -> Q | None:
        return failures.too_late(now)

    def repair(
        self, budget: Budget, uuids: list[UUID], which: Q, options: Mapping[str, Any], *, turn: int
    ) -> RepairResult:
        return failures.retry(budget, uuids=uuids, which=which, now=timezone.now(), turn=turn)


class SkipCommand(RepairCommand):
    """A command that skips failed work for a reason."""

    done = "skipped"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        reason = "The reason, which stays on the timelines; --confirm needs it."
        parser.add_argument("--reason", type=_reason, metavar="TEXT", help=reason)

    def run(self, **options: Any) -> None:
        if options["confirm"] is not None and not options["reason"]:
            raise CommandError(
                "Give a --reason, which stays on the timelines. Nothing was changed.", returncode=2
            )
        super().run(**options)

    def missing(self, options: Mapping[str, Any]) -> str:
        return "" if options["reason"] else " --reason TEXT"

    def repair(
        self, budget: Budget, uuids: list[UUID], which: Q, options: Mapping[str, Any], *, turn: int
    ) -> RepairResult:
        return failures.skip(budget, uuids=uuids, which=which, reason=options["reason"], now=timezone.now())


def _reason(text: str) -> str:
    if not text.strip() or len(text) > failures.LONGEST_REASON:
        raise ArgumentTypeError(f"Give a reason of up to {failures.LONGEST_REASON} characters")
    return text.strip()
