"""A learner's assignments: list them, check whether they can be redeemed, redeem, acknowledge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import Http404
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from bursary.access import known_learners
from bursary.access.models import User, of_mailboxes
from bursary.access.permissions import Permission, may, may_everywhere
from bursary.api.assignment_bodies import learner_body
from bursary.api.authentication import caller
from bursary.api.budgets import permitted_budget
from bursary.api.inputs import AssignmentUuidsInput, validated
from bursary.api.learner_serializers import (
    LearnerAssignmentSerializer,
    PolicyOfLearnerOutput,
    policy_of_learner,
    redemption_url,
)
from bursary.api.permitted import named_customer, permitted_customer
from bursary.api.policy_serializers import CENTS_IN_A_DOLLAR, POLICY_TYPE
from bursary.api.redemption_serializers import (
    NOT_REDEEMED,
    AcknowledgeOutput,
    RedeemabilityOutput,
    RedeemInput,
    RedeemOutput,
)
from bursary.api.refusals import as_reason
from bursary.api.views import APIView
from bursary.assignments import acknowledgement, listing, matching, redemption, shown_assignments
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget, Customer
from bursary.delivery import runner
from bursary.lib.prepared import Parameter, PreparedSelect
from bursary.replica import reads, renamed_keys
from bursary.replica.reads import ContentUnavailable
from bursary.replica.types import CatalogKey

MAX_KEYS = 100
_KEYS = OpenApiParameter(
    "content_key",
    {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": MAX_KEYS},
    required=True,
    explode=True,
    description="The keys of courses or runs; the parameter is repeated for each",
)
MAX_ASSIGNMENTS = 1000


@dataclass(frozen=True)
class _Learner:
    """The learner that a request is about, by the ids that Bursary has."""

    lms_user_id: int | None
    learner_key: str

    @classmethod
    def requested(cls, request: Request, *, lms_user_id: int | None, others: bool) -> "_Learner":
        """Return the caller, or the named learner if `others` are permitted. Raises PermissionDenied."""
        user = caller(request)
        if lms_user_id is None or lms_user_id == user.lms_user_id:
            return cls(user.lms_user_id, user.learner_key)
        if not others:
            raise PermissionDenied("You can only ask for yourself.")
        other = User.objects.filter(lms_user_id=lms_user_id).first()
        return cls(lms_user_id, other.learner_key if other else "")

    def assignments(self) -> QuerySet[LearnerContentAssignment]:
        return redemption.of_learner(lms_user_id=self.lms_user_id, learner_key=self.learner_key)


class _CreditsInput(serializers.Serializer[Any]):
    enterprise_customer_uuid = serializers.UUIDField()
    lms_user_id = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    page = serializers.IntegerField(
        required=False,
        default=1,
        min_value=1,
        max_value=10**6,
        help_text="The number of the page, from 1; a page has 1,000 assignments",
    )


class CreditsAvailable(APIView):
    """List a learner's assignments by budget, except ended ones that the learner has acknowledged.

    Open ones come first, nearest deadline first, then accepted ones, then ended ones. The answer is an array
    without an envelope, as clients expect; where there is more, the header `Link` has the next page.
    Makes no request upstream, unless `BURSARY_CONTENT_READS` is `upstream`.
    """

    query = (_CreditsInput,)

    @extend_schema(responses=PolicyOfLearnerOutput(many=True))
    def get(self, request: Request) -> Response:
        customer, query = named_customer(
            request, Permission.READ_OWN, shape=_CreditsInput, sent=request.query_params
        )
        learner = _learner_of(customer, request=request, lms_user_id=query.get("lms_user_id"))
        others = query.get("lms_user_id") not in (None, caller(request).lms_user_id)
        now = timezone.now()
        part = _part(query["page"], others=others).read(
            keys=known_learners.all_keys(learner.learner_key),
            lms_user_id=learner.lms_user_id,
            customer=customer.pk,
            now=now,
        )
        shown = shown_assignments.load(part, now=now)
        has_more, shown = len(shown) > MAX_ASSIGNMENTS, shown[:MAX_ASSIGNMENTS]
        by_budget: dict[Budget, list[dict[str, Any]]] = {}
        joining_refusals = redemption.joining_refusals(
            [(one.row, one.row.content_key) for one in shown],
            now=now,
            known={one.row.pk: one.offer for one in shown if one.offer},
        )
        for one in shown:
            body = learner_body(one, now=now, joining_refusals=joining_refusals)
            by_budget.setdefault(one.row.budget, []).append(body)
        policies = [policy_of_learner(budget, assignments=own, now=now) for budget, own in by_budget.items()]
        if not has_more:
            return Response(policies)
        following = replace_query_param(request.build_absolute_uri(), "page", query["page"] + 1)
        return Response(policies, headers={"Link": f'<{following}>; rel="next"'})


@lru_cache(maxsize=8)
def _part(page: int, *, others: bool) -> PreparedSelect:
    """Return the statement for a page of a learner's assignments, and one more row.

    With `others`, for learners other than the caller, only learners of the organisation are included.
    """
    start = (page - 1) * MAX_ASSIGNMENTS

    @PreparedSelect
    def statement() -> QuerySet[LearnerContentAssignment]:
        keys, lms_user_id, created = (
            LearnerContentAssignment._meta.get_field(name)
            for name in ("learner_key", "lms_user_id", "created")
        )
        mine = of_mailboxes(Parameter("keys", keys)) | Q(lms_user_id=Parameter("lms_user_id", lms_user_id))
        own = LearnerContentAssignment.objects.filter(
            mine, ~acknowledgement.acknowledged(), budget__customer=Parameter("customer", Customer._meta.pk)
        )
        if others:
            own = own.filter(known_learners.learns_at("budget__customer"))
        ordered = listing.in_learners_order(own, now=Parameter("now", created))
        return shown_assignments.annotated(ordered)[start : start + MAX_ASSIGNMENTS + 1]

    return statement


class CanRedeem(APIView):
    """Check for each content key whether you can redeem it, from which budget, at which price, or why not."""

    query = (_KEYS,)

    @extend_schema(responses=RedeemabilityOutput(many=True))
    def get(self, request: Request, customer_uuid: UUID) -> Response:
        customer = permitted_customer(request, Permission.READ_OWN, uuid=customer_uuid)
        learner = _learner_of(customer, request=request, lms_user_id=None)
        named = request.query_params.getlist("content_key")
        if not 0 < len(named) <= MAX_KEYS or not all(named):
            raise serializers.ValidationError({"content_key": [f"Name between 1 and {MAX_KEYS} keys."]})
        keys = list(dict.fromkeys(named))
        own = learner.assignments().filter(budget__customer=customer)
        asked = _current_keys(own, keys)
        keys = list(dict.fromkeys(asked.values()))
        parents = reads.courses_of(keys, assigned=_courses(own), now=timezone.now())
        covering = Q(content_key__in={*keys, *parents.values()}) | redemption.accepted_runs(keys)
        rows = own.filter(covering).select_related("budget__customer")
        found = rows.order_by("-allocated_at", "-pk")[:MAX_ASSIGNMENTS]
        now = timezone.now()
        best = redemption.chosen_by_key(found, courses={key: parents.get(key) for key in keys}, now=now)
        refused = _refusals(best, now=now)
        actions = redemption.redemptions([one for one in best.values() if one])
        bodies = dict(zip(actions, _redemptions(list(actions.values())), strict=True))
        found_by = {key: bodies.get(one.pk) if one else None for key, one in best.items()}
        return Response(
            [_redeemability(one, best[key], refused.get(key), found_by[key]) for one, key in asked.items()]
        )


def _current_keys(own: QuerySet[LearnerContentAssignment], keys: Sequence[str]) -> dict[str, str]:
    """Return the content's current key for each key, or the same key if it is that of an assignment."""
    asked = renamed_keys.current_keys(keys)
    if renamed := [key for key, current in asked.items() if key != current]:
        here = own.filter(Q(content_key__in=renamed) | Q(parent_content_key__in=renamed)).order_by()
        known = {key for keys in here.values_list("content_key", "parent_content_key") for key in keys}
        asked |= {key: key for key in renamed if key in known}
    return asked


def _courses(own: QuerySet[LearnerContentAssignment]) -> QuerySet[LearnerContentAssignment, tuple[UUID, str]]:
    """Return catalog and key of the assigned courses. Evaluated only in the read mode `upstream`."""
    courses = own.filter(parent_content_key="").order_by("content_key", "budget__catalog_uuid")
    return courses.values_list("budget__catalog_uuid", "content_key").distinct()[:MAX_ASSIGNMENTS]


def _refusals(
    best: Mapping[str, LearnerContentAssignment | None], *, now: datetime
) -> dict[str, redemption.RedemptionRefused | None]:
    """Return by key why its assignment cannot be redeemed; None if it can."""
    covered = [(one, key) for key, one in best.items() if one is not None]
    declined = matching.which_declined([one for one, _key in covered])
    joining_refusals = redemption.joining_refusals(covered, now=now, ask=True)
    found: dict[str, redemption.RedemptionRefused | None] = {}
    for key, one in best.items():
        found[key] = redemption.refusal(one, now=now, declined=one is not None and one.pk in declined)
        if one is not None and found[key] is None:
            found[key] = redemption.budget_refusal(one, now=now) or joining_refusals.get((one.pk, key))
    return found


def _redeemability(
    key: str,
    best: LearnerContentAssignment | None,
    refused: redemption.RedemptionRefused | None,
    body: dict[str, Any] | None,
) -> dict[str, Any]:
    reason = refused and as_reason(refused)
    accepted = best is not None and best.state == State.ACCEPTED
    can_redeem = refused is None and not accepted
    policy = best and {
        "uuid": str(best.budget.uuid),
        "policy_type": POLICY_TYPE,
        "policy_redemption_url": redemption_url(best.budget),
        "per_learner_enrollment_limit": None,
        "per_learner_spend_limit": None,
    }
    return {
        "content_key": key,
        "can_redeem": can_redeem,
        "has_successful_redemption": accepted,
        "list_price": best and {"usd": best.price_cents / CENTS_IN_A_DOLLAR, "usd_cents": best.price_cents},
        "redeemable_subsidy_access_policy": policy if can_redeem else None,
        "redemptions": [body] if body else [],
        "reasons": [reason] if reason else [],
        "display_reason": reason,
    }


class Redeem(APIView):
    """Redeem an assignment: it is accepted, and its money is spent once, however often this is repeated.

    It is tried in this request. What cannot be finished now is `pending`, and Bursary retries it.
    """

    reasons = {422: NOT_REDEEMED, 503: (ContentUnavailable.reason,)}

    @extend_schema(request=RedeemInput, responses={200: RedeemOutput})
    def post(self, request: Request, policy_uuid: UUID) -> Response:
        budget = permitted_budget(request, Permission.LEARN, uuid=policy_uuid)
        body, now = validated(RedeemInput, request.data), timezone.now()
        learner = _Learner.requested(
            request, lms_user_id=body.get("lms_user_id"), others=may_everywhere(caller(request))
        )
        own = learner.assignments().filter(budget=budget)
        [key] = _current_keys(own, [body["content_key"]]).values()
        course = reads.courses_of([key], assigned=_courses(own), now=now).get(key)
        found = own.filter(redemption.covering(key, course=course))
        assignment = redemption.chosen_by_key(found, courses={key: course}, now=now)[key]
        if assignment is None:
            raise redemption.not_assigned()
        action = redemption.begin(assignment, now=now, content_key=key, actor=caller(request))
        runner.drain(clock=timezone.now, limit=1, pks=[action.pk])
        action.refresh_from_db()
        return Response(_redemptions([action])[0])


class RedemptionStatus(APIView):
    """Read a redemption of your own; others are 404, like unknown ones."""

    @extend_schema(responses=RedeemOutput)
    def get(self, request: Request, action_uuid: UUID) -> Response:
        user = caller(request)
        own = _Learner(user.lms_user_id, user.learner_key).assignments()
        action = (
            LearnerContentAssignmentAction.objects.select_related("assignment__budget")
            .filter(uuid=action_uuid, action_type=ActionType.REDEEMED, assignment__in=own)
            .first()
        )
        if action is None:
            raise Http404("You have no such redemption.")
        return Response(_redemptions([action])[0])


def _redemptions(found: Sequence[LearnerContentAssignmentAction]) -> list[dict[str, Any]]:
    """Return the bodies of redemptions, each with its run. One query."""
    keys = [CatalogKey(one.assignment.budget.catalog_uuid, one.redeemed_content_key) for one in found]
    urls = reads.courseware_urls(keys)
    states = {Status.DONE: "committed", Status.FAILED: "failed"}
    return [
        {
            "uuid": action.assignment.transaction_uuid or action.uuid,
            "state": states.get(Status(action.status), "pending"),
            "lms_user_id": action.assignment.lms_user_id,
            "content_key": action.redeemed_content_key,
            "subsidy_access_policy_uuid": action.assignment.budget.uuid,
            "transaction_status_api_url": settings.BASE_URL
            + reverse("redemption-status", kwargs={"action_uuid": action.uuid}),
            "courseware_url": urls[key] or settings.BASE_URL,
        }
        for action, key in zip(found, keys, strict=True)
    ]


class Acknowledge(APIView):
    """Acknowledge that your assignments were cancelled or have expired. Safe to repeat.

    Answers 201 if an assignment is newly acknowledged, else 200.
    """

    @extend_schema(request=AssignmentUuidsInput, responses={200: AcknowledgeOutput, 201: AcknowledgeOutput})
    def post(self, request: Request, configuration_uuid: UUID) -> Response:
        budget = permitted_budget(request, Permission.LEARN, assignment_configuration_uuid=configuration_uuid)
        uuids = validated(AssignmentUuidsInput, request.data)["assignment_uuids"]
        user, now = caller(request), timezone.now()
        own = _Learner(user.lms_user_id, user.learner_key).assignments().filter(budget=budget)
        done = acknowledgement.acknowledge(own, uuids=uuids, now=now, actor=user)
        answer = {
            "acknowledged_assignments": _serialized(done.acknowledged),
            "already_acknowledged_assignments": _serialized(done.already),
            "unacknowledged_assignments": _serialized(done.refused),
        }
        if not any(answer.values()):
            raise serializers.ValidationError({"assignment_uuids": ["None of these is yours."]})
        return Response(answer, status=201 if done.acknowledged else 200)


def _serialized(assignments: Sequence[LearnerContentAssignment]) -> list[Any]:
    now = timezone.now()
    rows = listing.with_timelines([assignment.pk for assignment in assignments], now=now)
    return list(LearnerAssignmentSerializer(rows, many=True, context={"now": now}).data)


def _learner_of(customer: Customer, *, request: Request, lms_user_id: int | None) -> _Learner:
    """Return the caller, or the learner that the customer's administrator names. Raises PermissionDenied."""
    user = caller(request)
    other = lms_user_id not in (None, user.lms_user_id)
    others = other and may(user, Permission.READ_ASSIGNMENTS, customer_pk=customer.pk)
    return _Learner.requested(request, lms_user_id=lms_user_id, others=others)
