"""What administrators do to assignments they name, or to all that a filter finds: cancel, remind, nudge."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from bursary.access.permissions import Permission
from bursary.api.assignments import OfOneBudget
from bursary.api.authentication import caller
from bursary.api.inputs import AssignmentUuidsInput, NudgeInput
from bursary.api.refusals import Unprocessable
from bursary.assignments import cancellation, listing, reminders
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.reminders import ReminderResult

MOST_NAMED = 1000  # of those that could not be, in an answer; the count tells of all
_ONLY_OPEN = "Only open assignments can be cancelled."
_CHOOSE_OTHERS = "Choose assignments for which a mail still makes sense."
_ON_ITS_WAY = "A mail is on its way already"


class CancelOutput(serializers.Serializer[Any]):
    """What came of each assignment that was named."""

    cancelled = serializers.ListField(child=serializers.UUIDField())
    no_change = serializers.ListField(child=serializers.UUIDField(), help_text="Cancelled before")
    not_cancelled = serializers.ListField(child=serializers.DictField(), help_text="With the reason")


class RemindOutput(serializers.Serializer[Any]):
    """What came of each assignment that was named."""

    reminded = serializers.ListField(child=serializers.UUIDField())
    no_change = serializers.ListField(child=serializers.UUIDField(), help_text=_ON_ITS_WAY)
    not_reminded = serializers.ListField(child=serializers.DictField(), help_text="With the reason")


class NudgeOutput(serializers.Serializer[Any]):
    """What came of each assignment that was named."""

    nudged = serializers.ListField(child=serializers.UUIDField())
    no_change = serializers.ListField(child=serializers.UUIDField(), help_text=_ON_ITS_WAY)
    not_nudged = serializers.ListField(child=serializers.DictField(), help_text="With the reason")


class CancelAllOutput(serializers.Serializer[Any]):
    """How many were cancelled, and which could not be."""

    cancelled = serializers.IntegerField()
    no_change = serializers.IntegerField(help_text="Cancelled meanwhile by somebody else")
    not_cancelled_count = serializers.IntegerField()
    not_cancelled = serializers.ListField(child=serializers.DictField(), help_text="The first of them")


class RemindAllOutput(serializers.Serializer[Any]):
    """How many were reminded, and which could not be."""

    reminded = serializers.IntegerField()
    no_change = serializers.IntegerField(help_text=_ON_ITS_WAY)
    not_reminded_count = serializers.IntegerField()
    not_reminded = serializers.ListField(child=serializers.DictField(), help_text="The first of them")


class _OfNamed(OfOneBudget):
    """Views that act on the assignments that the body names."""

    body: type[AssignmentUuidsInput] = AssignmentUuidsInput

    def asked(self) -> dict[str, Any]:
        """Return what the body says. Raises ValidationError."""
        told = self.body(data=self.request.data)
        told.is_valid(raise_exception=True)
        named: dict[str, Any] = told.validated_data
        return named


class Cancel(_OfNamed):
    """Cancel those of the named assignments that are open, and say what came of every one.

    422 where none of them could be cancelled. Repeating it does no harm.
    """

    permission = Permission.CANCEL
    reason = "not_cancellable"

    @extend_schema(request=AssignmentUuidsInput, responses=CancelOutput)
    def post(self, request: Request, **_address: UUID) -> Response:
        """Cancel."""
        budget, uuids = self.budget, self.asked()["assignment_uuids"]
        done = cancellation.cancel(budget, uuids=uuids, now=timezone.now(), actor=caller(request))
        refused = _refusals(done.refused, self.reason, _ONLY_OPEN)
        if refused and not done.cancelled and not done.unchanged:
            raise Unprocessable(refused)
        return Response(
            {
                "cancelled": [assignment.uuid for assignment in done.cancelled],
                "no_change": [assignment.uuid for assignment in done.unchanged],
                "not_cancelled": refused,
            }
        )


class Remind(_OfNamed):
    """Remind the learners of those of the named assignments that are open, and say what came of every one.

    422 where none of them could be reminded. Asked twice, a learner gets one mail.
    """

    permission = Permission.REMIND
    reason = "not_remindable"

    @extend_schema(request=AssignmentUuidsInput, responses=RemindOutput)
    def post(self, request: Request, **_address: UUID) -> Response:
        """Remind."""
        budget, uuids = self.budget, self.asked()["assignment_uuids"]
        done = reminders.remind(budget, uuids=uuids, now=timezone.now(), actor=caller(request))
        return _answer(done, "reminded", reason=self.reason)


class Nudge(_OfNamed):
    """Tell the learners of those of the named assignments that the content starts soon.

    422 where none of them could be nudged. Asked twice, a learner gets one mail.
    """

    permission = Permission.REMIND
    reason = "not_nudgeable"
    body = NudgeInput

    @extend_schema(request=NudgeInput, responses=NudgeOutput)
    def post(self, request: Request, **_address: UUID) -> Response:
        """Nudge."""
        budget, asked = self.budget, self.asked()
        done = reminders.nudge(
            budget,
            uuids=asked["assignment_uuids"],
            within_days=asked.get("days_before_course_start_date"),
            now=timezone.now(),
            actor=caller(request),
        )
        return _answer(done, "nudged", reason=self.reason)


class _OfAFilter(OfOneBudget):
    """Views that act on whatever the list would show for the same query string, without a body."""

    def matching(self) -> QuerySet[LearnerContentAssignment]:
        """Return the budget's assignments that the query string asks for. Raises ValidationError."""
        asked, known = self.request.query_params, {*listing.AssignmentFilters.base_filters, "format"}
        # A list may show too much; this would do too much.
        if unknown := sorted(set(asked) - known):
            raise serializers.ValidationError({name: ["There is no such filter."] for name in unknown})
        if empty := sorted(name for name in asked if not asked[name].strip()):
            raise serializers.ValidationError({name: ["Give it a value, or leave it out."] for name in empty})
        mine = LearnerContentAssignment.objects.filter(budget=self.budget)
        filters = listing.AssignmentFilters(self.request.query_params, queryset=mine, request=self.request)
        if not filters.is_valid():
            raise serializers.ValidationError(filters.errors)
        found: QuerySet[LearnerContentAssignment] = filters.qs
        return found


class CancelAll(_OfAFilter):
    """Cancel every open assignment that the filters of the query string find; all of them without any."""

    permission = Permission.CANCEL

    @extend_schema(request=None, responses={202: CancelAllOutput})
    def post(self, request: Request, **_address: UUID) -> Response:
        """Cancel them, batch by batch."""
        done = cancellation.cancel_all(
            self.matching(), budget=self.budget, now=timezone.now(), actor=caller(request)
        )
        counts = {"cancelled": len(done.cancelled), "no_change": len(done.unchanged)}
        return _counted(counts, "not_cancelled", done.refused, Cancel.reason, _ONLY_OPEN)


class RemindAll(_OfAFilter):
    """Remind every learner who was told and has not answered, among those that the filters find."""

    permission = Permission.REMIND

    @extend_schema(request=None, responses={202: RemindAllOutput})
    def post(self, request: Request, **_address: UUID) -> Response:
        """Remind them, batch by batch."""
        done = reminders.remind_waiting(
            self.matching(), budget=self.budget, now=timezone.now(), actor=caller(request)
        )
        counts = {"reminded": len(done.requested), "no_change": len(done.on_their_way)}
        return _counted(counts, "not_reminded", done.refused, Remind.reason, _CHOOSE_OTHERS)


def _answer(done: ReminderResult, verb: str, *, reason: str) -> Response:
    """Return what came of each. Raises Unprocessable where nothing could be done for any."""
    refused = _refusals(done.refused, reason, _CHOOSE_OTHERS)
    if refused and not done.requested and not done.on_their_way:
        raise Unprocessable(refused)
    return Response({verb: done.requested, "no_change": done.on_their_way, f"not_{verb}": refused})


def _counted(
    counts: dict[str, Any], name: str, refused: Mapping[UUID, str], reason: str, next_step: str
) -> Response:
    first = dict(list(refused.items())[:MOST_NAMED])
    body = {**counts, f"{name}_count": len(refused), name: _refusals(first, reason, next_step)}
    return Response(body, status=202)


def _refusals(refused: Mapping[UUID, str], reason: str, next_step: str) -> list[dict[str, Any]]:
    return [_refusal(uuid, standing, reason, next_step) for uuid, standing in refused.items()]


def _refusal(uuid: UUID, standing: str, reason: str, next_step: str) -> dict[str, Any]:
    known = standing != "unknown"
    sentence = f"It is {standing}." if known else "There is no such assignment in this budget."
    return {
        "reason": reason if known else "unknown_assignment",
        "user_message": sentence,
        "next_step": next_step if known else "Load the list again.",
        "assignment_uuid": str(uuid),
    }
