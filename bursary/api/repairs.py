"""Retry, skip and extend: for named assignments, or for all that match a filter; counts of failed work."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from bursary.access.permissions import Permission
from bursary.api import bulk
from bursary.api.assignments import BudgetView, FilteredBudgetView
from bursary.api.authentication import caller
from bursary.api.inputs import (
    ExtendAllInput,
    ExtendInput,
    RetryAllInput,
    RetryInput,
    SkipInput,
    validated,
)
from bursary.assignments import extension, failures, failures_by_code
from bursary.assignments.choices import ActionType, ExpiryReason
from bursary.assignments.extension import ExtensionRefusal, ExtensionResult
from bursary.assignments.failures import RepairRefusal, RepairResult
from bursary.lib import moments

_NOT_REPAIRED: Mapping[str, tuple[str, str]] = {
    RepairRefusal.NOTHING_FAILED: ("There is nothing that failed and could be repeated.", "Reload the list."),
    RepairRefusal.TOO_LATE: (
        "Its course has started, or its deadline has passed: the mail would not be sent.",
        "Skip it, with a reason.",
    ),
    RepairRefusal.ONLY_BY_LEARNER: ("Accepting it failed.", "Ask the learner to accept it again."),
}
_NOT_EXTENDED: Mapping[str, tuple[str, str]] = {
    ExtensionRefusal.NOT_LATER: ("Its deadline is not before that date.", "Choose a later date."),
    ExtensionRefusal.BOUND_BY_ENROLMENT: (
        "Enrolment in its course closes at its deadline: that cannot be extended here.",
        "Assign a later run.",
    ),
    ExtensionRefusal.BOUND_BY_BUDGET: ("Its budget ends at its deadline.", "Have the budget's end changed."),
    ExtensionRefusal.EXPIRED: (
        "Its deadline has passed.",
        "Assign the course again: the learner then has a new deadline.",
    ),
}


class CauseOutput(serializers.Serializer[Any]):
    """A cause, and its number of assignments with failed work: the count of the list with `?cause=…`."""

    cause = serializers.CharField()
    count = serializers.IntegerField()


class FailureCountOutput(serializers.Serializer[Any]):
    """The failed work of one cause, type and day."""

    cause = serializers.CharField()
    action_type = serializers.ChoiceField(choices=ActionType.choices)
    error_reason = serializers.CharField()
    day = serializers.DateField(
        allow_null=True,
        help_text="The day in the organisation's time zone; null for failures older than "
        f"{failures.DAYS_APART} days",
    )
    count = serializers.IntegerField()
    latest = serializers.DateTimeField()


class ExtensionOutput(serializers.Serializer[Any]):
    """An assignment with its old and new deadline, and the date that decides the new one."""

    assignment_uuid = serializers.UUIDField()
    old = serializers.DateTimeField()
    new = serializers.DateTimeField()
    reason = serializers.ChoiceField(choices=ExpiryReason.choices)


class UntilOutput(serializers.Serializer[Any]):
    """The new deadline as an instant."""

    until = serializers.DateTimeField()


class FailuresOutput(serializers.Serializer[Any]):
    """Counts of failed work that can be repaired."""

    causes = CauseOutput(many=True)
    results = FailureCountOutput(
        many=True, help_text=f"The counts, newest first; at most {failures.MAX_COUNTS}"
    )


class RetryOutput(serializers.Serializer[Any]):
    """Each assignment, under one of two results; `no_change` is empty."""

    retried = serializers.ListField(child=serializers.UUIDField())
    no_change = serializers.ListField(child=serializers.UUIDField())
    not_retried = bulk.NotDoneOutput(many=True)


class SkipOutput(serializers.Serializer[Any]):
    """Each assignment, under one of two results; `no_change` is empty."""

    skipped = serializers.ListField(child=serializers.UUIDField())
    no_change = serializers.ListField(child=serializers.UUIDField())
    not_skipped = bulk.NotDoneOutput(many=True)


class ExtendOutput(serializers.Serializer[Any]):
    """Each assignment, under one of two results; `no_change` is empty."""

    understood = UntilOutput()
    extended = ExtensionOutput(many=True)
    no_change = serializers.ListField(child=serializers.UUIDField())
    not_extended = bulk.NotDoneOutput(many=True)


class RetryAllOutput(serializers.Serializer[Any]):
    """The number of assignments by result, and the refusals."""

    retried = serializers.IntegerField()
    not_retried_count = serializers.IntegerField()
    not_retried = bulk.NotDoneOutput(many=True)


class ExtendAllOutput(serializers.Serializer[Any]):
    """The number of assignments by result, and the refusals."""

    extended = serializers.IntegerField()
    not_extended_count = serializers.IntegerField()
    not_extended = bulk.NotDoneOutput(many=True)


class Failures(BudgetView):
    """Count a budget's failed work that can be repaired, by cause, type and day."""

    @extend_schema(responses=FailuresOutput)
    def get(self, request: Request, **_url: UUID) -> Response:
        budgets, zone = [self.budget], self.budget.customer.zone
        found = failures.counts(budgets, zone=zone, now=timezone.now())
        by_code = failures_by_code.in_budgets(budgets)
        return Response(
            {
                "causes": [{"cause": code, "count": count} for code, count in by_code.items()],
                "results": [
                    {
                        "cause": one.error_code,
                        "action_type": one.action_type,
                        "error_reason": one.error_reason,
                        "day": one.day,
                        "count": one.count,
                        "latest": one.latest,
                    }
                    for one in found
                ],
            }
        )


class RepairOfNamed(BudgetView):
    """A repair of the named assignments' failed work."""

    permission = Permission.ALLOCATE
    reasons = {422: (*RepairRefusal, "unknown_assignment")}

    def answer(
        self, verb: str, shape: type[serializers.Serializer[Any]], repair: Callable[..., RepairResult]
    ) -> Response:
        """Repair the failed work that the body selects, and return the result for each assignment."""
        budget, body = self.budget, validated(shape, self.request.data)
        more = {"reason": body["reason"]} if "reason" in body else {}
        done = repair(
            budget,
            uuids=body["assignment_uuids"],
            which=_which(body),
            now=timezone.now(),
            actor=caller(self.request),
            **more,
        )
        return bulk.of_each(verb, done.repaired, [], _not_repaired(done))


class Retry(RepairOfNamed):
    """Retry the failed work of the named assignments; those without are listed with the reason.

    Answers 422 if nothing could be retried.
    """

    @extend_schema(request=RetryInput, responses=RetryOutput)
    def post(self, request: Request, **_url: UUID) -> Response:
        return self.answer("retried", RetryInput, failures.retry)


class Skip(RepairOfNamed):
    """Skip the failed work of the named assignments, for a reason that stays on their timelines.

    Answers 422 if nothing could be skipped.
    """

    @extend_schema(request=SkipInput, responses=SkipOutput)
    def post(self, request: Request, **_url: UUID) -> Response:
        return self.answer("skipped", SkipInput, failures.skip)


class RetryAll(FilteredBudgetView):
    """Retry the failed work of all assignments that the query string's filters find, such as of one cause.

    Answers 409 if their count is not the confirmed one.
    """

    permission = Permission.ALLOCATE
    reasons = bulk.OF_CONFIRMED

    @extend_schema(request=RetryAllInput, responses={202: RetryAllOutput})
    def post(self, request: Request, **_url: UUID) -> Response:
        budget, body = self.budget, validated(RetryAllInput, request.data)
        uuids = bulk.confirmed(self, count=body["confirmed_count"])
        codes = [one for one in request.query_params.get("cause", "").split(",") if one]
        which = _which(body) & (Q(error_code__in=codes) if codes else Q())
        now, actor = timezone.now(), caller(request)
        done = failures.retry(budget, uuids=uuids, which=which, now=now, actor=actor)
        refused = _not_repaired(done)
        body = {"retried": len(done.repaired), "not_retried_count": len(refused)}
        return Response({**body, "not_retried": refused[: bulk.MAX_NAMED]}, status=202)


class Extend(BudgetView):
    """Extend the deadlines of the named assignments that are open; the others are listed with the reason.

    Answers 422 if none could be extended.
    """

    permission = Permission.ALLOCATE
    reason = "not_extendable"
    reasons = {422: (reason, *ExtensionRefusal, "unknown_assignment")}

    @extend_schema(request=ExtendInput, responses=ExtendOutput)
    def post(self, request: Request, **_url: UUID) -> Response:
        budget = self.budget
        body = validated(ExtendInput, request.data, zone=budget.customer.zone)
        done = extension.extend(
            budget,
            uuids=body["assignment_uuids"],
            until=body["until"],
            now=timezone.now(),
            actor=caller(request),
        )
        extended = [
            {
                "assignment_uuid": one.assignment,
                "old": one.old,
                "new": one.new,
                "reason": one.decided_by.value,
            }
            for one in done.extended
        ]
        response = bulk.of_each("extended", extended, [], _not_extended(done))
        response.data["understood"] = {"until": moments.iso(body["until"], zone=budget.customer.zone)}
        return response


class ExtendAll(FilteredBudgetView):
    """Extend the deadlines of all assignments that the query string's filters find.

    Answers 409 if their count is not the confirmed one.
    """

    permission = Permission.ALLOCATE
    reasons = bulk.OF_CONFIRMED

    @extend_schema(request=ExtendAllInput, responses={202: ExtendAllOutput})
    def post(self, request: Request, **_url: UUID) -> Response:
        budget = self.budget
        body = validated(ExtendAllInput, request.data, zone=budget.customer.zone)
        uuids = bulk.confirmed(self, count=body["confirmed_count"])
        now, actor = timezone.now(), caller(request)
        done = extension.extend(budget, uuids=uuids, until=body["until"], now=now, actor=actor)
        refused = _not_extended(done)
        counts = {"extended": len(done.extended), "not_extended_count": len(refused)}
        return Response({**counts, "not_extended": refused[: bulk.MAX_NAMED]}, status=202)


def _which(body: dict[str, Any]) -> Q:
    return Q(action_type=body["action_type"]) if "action_type" in body else Q()


def _not_repaired(done: RepairResult) -> list[dict[str, Any]]:
    return bulk.refusals(done.refused, "", "Reload the list.", _NOT_REPAIRED)


def _not_extended(done: ExtensionResult) -> list[dict[str, Any]]:
    return bulk.refusals(done.refused, Extend.reason, "Choose open assignments.", _NOT_EXTENDED)
