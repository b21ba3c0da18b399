"""Cancel, remind and nudge: for named assignments, or for all that match a filter."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from bursary.access.permissions import Permission
from bursary.api.assignments import OF_FILTERS, BudgetView, FilteredBudgetView
from bursary.api.authentication import caller
from bursary.api.inputs import AssignmentUuidsInput, NudgeInput, OptionalCountInput, validated
from bursary.api.refusals import CountChanged, TooManyFound, Unprocessable
from bursary.assignments import cancellation, listing, reminders
from bursary.assignments.matching import MAX_ADDRESSES
from bursary.assignments.models import LearnerContentAssignment

OF_CONFIRMED = {
    400: (*OF_FILTERS[400], TooManyFound.reason),
    409: (CountChanged.reason,),
}
"""By status, the reasons to refuse work on all assignments that match a filter, with a confirmed count."""
MAX_NAMED = 1000  # refusals in one answer to `cancel-all` and `remind-all`; the count covers all
_ONLY_OPEN = "Only open assignments can be cancelled."
_REMINDABLE = "Choose open assignments that are before their deadline, of a budget in use."
_NUDGEABLE = "Choose assignments, open or accepted, of content that starts soon."
_IN_WORDS = {
    reminders.STARTED: "Its course has already started.",
    reminders.WITHOUT_START: "The start of its course is not known.",
}
_ON_ITS_WAY = "Assignments with such an e-mail on its way already"


class NotDoneOutput(serializers.Serializer[Any]):
    """A refused assignment, and the reason."""

    reason = serializers.CharField()
    user_message = serializers.CharField()
    next_step = serializers.CharField()
    assignment_uuid = serializers.UUIDField()


class CancelOutput(serializers.Serializer[Any]):
    """Each named assignment, under one of three results."""

    cancelled = serializers.ListField(child=serializers.UUIDField())
    no_change = serializers.ListField(
        child=serializers.UUIDField(), help_text="Assignments that were cancelled before"
    )
    not_cancelled = NotDoneOutput(many=True)


class RemindOutput(serializers.Serializer[Any]):
    """Each named assignment, under one of three results."""

    reminded = serializers.ListField(child=serializers.UUIDField())
    no_change = serializers.ListField(child=serializers.UUIDField(), help_text=_ON_ITS_WAY)
    not_reminded = NotDoneOutput(many=True)


class NudgeOutput(serializers.Serializer[Any]):
    """Each named assignment, under one of three results."""

    nudged = serializers.ListField(child=serializers.UUIDField())
    no_change = serializers.ListField(child=serializers.UUIDField(), help_text=_ON_ITS_WAY)
    not_nudged = NotDoneOutput(many=True)


class CancelAllOutput(serializers.Serializer[Any]):
    """The number of assignments by result, and the refusals."""

    cancelled = serializers.IntegerField()
    no_change = serializers.IntegerField(help_text="Assignments that another request cancelled meanwhile")
    not_cancelled_count = serializers.IntegerField()
    not_cancelled = NotDoneOutput(
        many=True, help_text=f"The refused assignments, with the reasons; at most {MAX_NAMED}"
    )


class RemindAllOutput(serializers.Serializer[Any]):
    """The number of assignments by result, and the refusals."""

    reminded = serializers.IntegerField()
    no_change = serializers.IntegerField(help_text=_ON_ITS_WAY)
    not_reminded_count = serializers.IntegerField()
    not_reminded = NotDoneOutput(
        many=True, help_text=f"The refused assignments, with the reasons; at most {MAX_NAMED}"
    )


class Cancel(BudgetView):
    """Cancel the named assignments that are open; the others are listed with the reason.

    Answers 422 if none could be cancelled. Safe to repeat.
    """

    permission = Permission.CANCEL
    reason = "not_cancellable"
    reasons = {422: (reason, "unknown_assignment")}

    @extend_schema(request=AssignmentUuidsInput, responses=CancelOutput)
    def post(self, request: Request, **_url: UUID) -> Response:
        budget, named = self.budget, validated(AssignmentUuidsInput, request.data)["assignment_uuids"]
        done = cancellation.cancel(budget, uuids=named, now=timezone.now(), actor=caller(request))
        cancelled = [assignment.uuid for assignment in done.cancelled]
        unchanged = [assignment.uuid for assignment in done.unchanged]
        return of_each("cancelled", cancelled, unchanged, refusals(done.refused, self.reason, _ONLY_OPEN))


class Remind(BudgetView):
    """Remind the learners of the named assignments that are open; the others are listed with the reason.

    Answers 422 if none could be reminded. A request that is repeated within ten minutes sends no second
    e-mail; a later one does.
    """

    permission = Permission.REMIND
    reason = "not_remindable"
    reasons = {422: (reason, "unknown_assignment")}

    @extend_schema(request=AssignmentUuidsInput, responses=RemindOutput)
    def post(self, request: Request, **_url: UUID) -> Response:
        budget, named = self.budget, validated(AssignmentUuidsInput, request.data)["assignment_uuids"]
        done = reminders.remind(budget, uuids=named, now=timezone.now(), actor=caller(request))
        refused = refusals(done.refused, self.reason, _REMINDABLE)
        return of_each("reminded", done.requested, done.on_their_way, refused)


class Nudge(BudgetView):
    """Send the learners of the named assignments an e-mail that the content starts soon.

    Answers 422 if none could be nudged. A request that is repeated within ten minutes sends no second
    e-mail; a later one does.
    """

    permission = Permission.REMIND
    reason = "not_nudgeable"
    reasons = {422: (reason, "unknown_assignment")}

    @extend_schema(request=NudgeInput, responses=NudgeOutput)
    def post(self, request: Request, **_url: UUID) -> Response:
        budget, body = self.budget, validated(NudgeInput, request.data)
        done = reminders.nudge(
            budget,
            uuids=body["assignment_uuids"],
            within_days=body.get("days_before_course_start_date"),
            now=timezone.now(),
            actor=caller(request),
        )
        refused = refusals(done.refused, self.reason, _NUDGEABLE)
        return of_each("nudged", done.requested, done.on_their_way, refused)


class CancelAll(FilteredBudgetView):
    """Cancel all open assignments that the query string's filters match; without filters, all of them."""

    reasons = OF_FILTERS | {409: (CountChanged.reason,)}
    permission = Permission.CANCEL

    @extend_schema(request=OptionalCountInput, responses={202: CancelAllOutput})
    def post(self, request: Request, **_url: UUID) -> Response:
        found = as_confirmed(self)
        done = cancellation.cancel_all(self.budget, uuids=found, now=timezone.now(), actor=caller(request))
        counts = {"cancelled": len(done.cancelled), "no_change": len(done.unchanged)}
        return counts_response("not_cancelled", counts, done.refused, Cancel.reason, _ONLY_OPEN)


class RemindAll(FilteredBudgetView):
    """Remind the learners in the state `waiting`, among those that the query string's filters match."""

    reasons = OF_FILTERS | {409: (CountChanged.reason,)}
    permission = Permission.REMIND

    @extend_schema(request=OptionalCountInput, responses={202: RemindAllOutput})
    def post(self, request: Request, **_url: UUID) -> Response:
        found = as_confirmed(self)
        done = reminders.remind_waiting(self.budget, uuids=found, now=timezone.now(), actor=caller(request))
        counts = {"reminded": len(done.requested), "no_change": len(done.on_their_way)}
        return counts_response("not_reminded", counts, done.refused, Remind.reason, _REMINDABLE)


def filtered(view: BudgetView) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments that the list shows for the same query string. Raises ValidationError.

    An empty filter, which the list ignores, is refused: the request would act on too many assignments.
    """
    query = view.request.query_params
    if empty := sorted(name for name in query if not query[name].strip()):
        raise serializers.ValidationError({name: ["Give it a value, or leave it out."] for name in empty})
    budgets = LearnerContentAssignment.objects.filter(budget=view.budget)
    zone = view.budget.customer.zone
    filters = listing.AssignmentFilters(query, queryset=budgets, request=view.request, zone=zone)
    if not filters.is_valid():
        raise serializers.ValidationError(filters.errors)
    matching: QuerySet[LearnerContentAssignment] = filters.qs
    return matching


def of_each(
    verb: str, done: Sequence[Any], unchanged: Sequence[UUID], refused: list[dict[str, Any]]
) -> Response:
    """Return the result for each assignment. Raises Unprocessable if all were refused."""
    if refused and not done and not unchanged:
        raise Unprocessable(refused)
    return Response({verb: done, "no_change": unchanged, f"not_{verb}": refused})


def confirmed(view: BudgetView, *, count: int) -> list[UUID]:
    """Return the uuids of all assignments that match the query string's filters, if their number is `count`.

    Raises CountChanged, TooManyFound, ValidationError.
    """
    matching = filtered(view).order_by("pk").values_list("uuid", flat=True)
    uuids = list(matching[: MAX_ADDRESSES + 1])
    if len(uuids) > MAX_ADDRESSES:
        raise TooManyFound(limit=MAX_ADDRESSES)
    if len(uuids) != count:
        raise CountChanged(confirmed=count, count=len(uuids))
    return uuids


def as_confirmed(view: BudgetView) -> list[UUID]:
    """Return the uuids of assignments that match the query string's filters; check a confirmed number.

    All are looked up before the work begins, so that assignments which match later are not included. Raises
    CountChanged, ValidationError.
    """
    uuids = list(filtered(view).order_by("pk").values_list("uuid", flat=True))
    # Clients that confirm no count send an empty body, of any content type.
    body = view.request.data if "json" in (view.request.content_type or "") else {}
    confirmed = validated(OptionalCountInput, body).get("confirmed_count")
    if confirmed is not None and confirmed != len(uuids):
        raise CountChanged(confirmed=confirmed, count=len(uuids))
    return uuids


def counts_response(
    name: str, counts: Mapping[str, int], refused: Mapping[UUID, str], reason: str, next_step: str
) -> Response:
    """Return the counts with the number of refusals, and the first `MAX_NAMED` refusals under `name`."""
    first = dict(islice(refused.items(), MAX_NAMED))
    body = {**counts, f"{name}_count": len(refused), name: refusals(first, reason, next_step)}
    return Response(body, status=202)


def refusals(
    refused: Mapping[UUID, str],
    reason: str,
    next_step: str,
    in_words: Mapping[str, tuple[str, str]] = {},
) -> list[dict[str, Any]]:
    """Return each refusal with its reason: its code if `in_words` has it, else `reason`."""
    found = []
    for uuid, code in refused.items():
        if code == "unknown":
            one = {
                "reason": "unknown_assignment",
                "user_message": "There is no such assignment in this budget.",
                "next_step": "Reload the list.",
            }
        elif code in in_words:
            sentence, step = in_words[code]
            one = {"reason": code, "user_message": sentence, "next_step": step}
        else:
            sentence = _IN_WORDS.get(code, f"This assignment is {code}.")
            one = {"reason": reason, "user_message": sentence, "next_step": next_step}
        found.append({**one, "assignment_uuid": str(uuid)})
    return found
