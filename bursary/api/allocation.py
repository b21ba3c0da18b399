"""Allocation of a course, and its preview."""

from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from bursary.access.permissions import Permission
from bursary.api.allocation_serializers import ALLOCATED, REFUSED, AllocateSummaryInput, CanAllocateOutput
from bursary.api.assignment_bodies import bodies
from bursary.api.authentication import caller
from bursary.api.budgets import permitted_budget
from bursary.api.inputs import AllocateInput, validated
from bursary.api.refusals import as_refusal, refusal
from bursary.api.views import APIView
from bursary.assignments import allocation, pasted_lists, preview_warnings, shown_assignments
from bursary.assignments.matching import (
    FREE_OF_CHARGE,
    BadAddresses,
    Match,
    Overrides,
    TooManyAddresses,
    Verdict,
)
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.pasted_lists import PastedList
from bursary.assignments.preview_warnings import PreviewWarning, WarningSummary
from bursary.budgets.models import Budget
from bursary.lib import mailbox, moments
from bursary.lib.batches import chunks
from bursary.replica.joining import JoiningTerms
from bursary.replica.reads import ContentUnavailable

_KINDS = ("created", "updated", "no_change")


class Allocate(APIView):
    """Allocate one course or run to every address, within the budget, all or nothing.

    Reserves the money and sends each learner an e-mail. A repeated request changes nothing and costs nothing.
    With `summary`, the answer has counts and uuids in place of the assignments.
    """

    query = (AllocateSummaryInput,)
    reasons = {
        400: (BadAddresses.reason, TooManyAddresses.reason),
        422: REFUSED,
        503: (ContentUnavailable.reason,),
    }

    def abridged(self, body: Any) -> Any:
        """Return the answer with uuids in place of the assignments, and the verdicts on unchanged ones."""
        if "uuids" in body:  # the body is a summary already
            return body
        verdicts = {one["uuid"]: one["verdict"] for one in body["no_change"]}
        return {
            **body,
            **{kind: [one["uuid"] for one in body[kind]] for kind in _KINDS},
            "verdicts": verdicts,
        }

    def restored(self, body: Any) -> Any:
        """Return the answer with the assignments as they are now."""
        if "uuids" in body:
            return body
        pks: dict[str, int] = {}
        for uuids in chunks([uuid for kind in _KINDS for uuid in body[kind]], 500):
            rows = LearnerContentAssignment.objects.filter(uuid__in=uuids)
            pks |= {str(uuid): pk for uuid, pk in rows.values_list("uuid", "pk")}
        verdicts = body.pop("verdicts")
        shown = {kind: _bodies([pks[uuid] for uuid in body[kind] if uuid in pks]) for kind in _KINDS}
        for one in shown["no_change"]:
            one["verdict"] = verdicts[str(one["uuid"])]
        return {**body, **shown}

    @extend_schema(request=AllocateInput, responses={202: ALLOCATED})
    def post(self, request: Request, policy_uuid: UUID) -> Response:
        budget = permitted_budget(request, Permission.ALLOCATE, uuid=policy_uuid)
        summary = validated(AllocateSummaryInput, request.query_params)["summary"]
        asked, people = _parsed(request, budget)
        try:
            done = allocation.allocate(budget, **asked, now=timezone.now(), actor=caller(request))
        except BadAddresses as bad:
            named = _bad(bad.errors, people)
            # A list that the web form would accept is valid input, so a rule refuses it: see decision 0020.
            accepted = all(mailbox.has_form(people.entries[at].text) for at in bad.errors)
            raise (as_refusal(named) if accepted else named) from bad
        body = {
            **_understood(asked, budget),
            "allocation_batch_uuid": done.batch.uuid,
            **(_summary(done) if summary else _whole(done)),
            "recognised": [_match(one, people) for one in done.matches if one.known_by_other_address],
            "duplicates": [_match(one, people) for one in done.matches if one.verdict is Verdict.DUPLICATE],
            **_left_out(people),
            "joining": _joining(done.terms),
        }
        return Response(body, status=status.HTTP_202_ACCEPTED)


class CanAllocate(APIView):
    """Preview an allocation: the result for each address, the cost, the remaining money, the deadline.

    Changes nothing.
    """

    reasons = {400: (TooManyAddresses.reason,), 503: (ContentUnavailable.reason,)}

    def abridged(self, body: Any) -> None:
        """Return None: a preview may be repeated."""

    @extend_schema(request=AllocateInput, responses={200: CanAllocateOutput})
    def post(self, request: Request, policy_uuid: UUID) -> Response:
        budget = permitted_budget(request, Permission.ALLOCATE, uuid=policy_uuid)
        asked, people = _parsed(request, budget)
        del asked["message"]
        preview = allocation.preview(budget, **asked, now=timezone.now())
        usable = [
            _match(one, people)
            | {"warnings": [_warning(it) for it in preview.warnings.get(one.addressee.position, ())]}
            for one in preview.matches
        ]
        learners = [*_invalid(preview.bad_addresses, people), *usable]
        refused = [*preview.refusals]
        if preview.bad_addresses:
            refused.insert(0, as_refusal(_bad(preview.bad_addresses, people)))
        body = {
            **_understood(asked, budget),
            "can_allocate": not refused,
            "content_key": asked["content_key"],
            "cost_cents": preview.cost_cents,
            "remaining_cents": preview.remaining_cents,
            "deadline": preview.deadline and {"date": preview.deadline, "reason": preview.deadline_reason},
            "joining": preview.terms and _joining(preview.terms),
            "refusals": [refusal(one, policy_uuid=policy_uuid) for one in refused],
            "warnings": [_warning(one) for one in preview_warnings.summary(preview.warnings)],
            "learners": sorted(learners, key=lambda one: one["position"]),
            **_left_out(people),
        }
        return Response(body)


def _understood(asked: dict[str, Any], budget: Budget) -> dict[str, Any]:
    """Return the instant of the due date, if one was sent, in the organisation's time zone."""
    due_date = asked["due_date"]
    return {"understood": {"due_date": moments.iso(due_date, zone=budget.customer.zone)}} if due_date else {}


def _parsed(request: Request, budget: Budget) -> tuple[dict[str, Any], PastedList]:
    """Return the arguments of the allocation, and the parsed list of learners."""
    body = validated(AllocateInput, request.data, zone=budget.customer.zone)
    people = pasted_lists.parse_items(body["learner_emails"])
    asked = {
        "content_key": body["content_key"],
        "price_cents": body["content_price_cents"],
        "entries": [entry.text for entry in people.entries],
        "due_date": body.get("due_date"),
        "message": body["message"],
        "overrides": Overrides(body["allow_another"], body["reallocate_declined"]),
    }
    return asked, people


def _whole(done: allocation.Allocation) -> dict[str, Any]:
    verdicts = {one.assignment.pk: one.verdict for one in done.matches if one.assignment}
    unchanged = [one.pk for one in done.assignments(*FREE_OF_CHARGE)]
    return {
        "created": _bodies([one.pk for one in done.assignments(Verdict.NEW)]),
        "updated": _bodies([one.pk for one in done.assignments(Verdict.REALLOCATED)]),
        "no_change": [
            {**body, "verdict": verdicts[pk].value}
            for pk, body in zip(unchanged, _bodies(unchanged), strict=True)
        ],
    }


def _bodies(pks: list[int]) -> list[dict[str, Any]]:
    shown = shown_assignments.load_all(pks, now=timezone.now(), with_join_by=False, with_account_ended=False)
    return bodies(shown)


def _summary(done: allocation.Allocation) -> dict[str, Any]:
    kinds = {"created": (Verdict.NEW,), "updated": (Verdict.REALLOCATED,), "no_change": FREE_OF_CHARGE}
    verdicts = {
        kind: {
            str(one.assignment.uuid): one.verdict.value
            for one in done.matches
            if one.verdict in of_kind and one.assignment
        }
        for kind, of_kind in kinds.items()
    }
    return {
        "counts": {kind: len(found) for kind, found in verdicts.items()},
        "uuids": {kind: [*found] for kind, found in verdicts.items()},
        "verdicts": verdicts["no_change"],
    }


def _joining(terms: JoiningTerms) -> dict[str, Any]:
    return {
        "content_run_key": terms.run_key,
        "content_price_cents": terms.price_cents,
        "join_by": terms.join_by,
    }


def _bad(errors: Mapping[int, str], people: PastedList) -> BadAddresses:
    """Return the errors by item of the request; in an item with several entries, each bad entry is named."""
    entries = Counter(one.line for one in people.entries)
    named = {
        at: why if entries[people.entries[at].line] == 1 else f"“{people.entries[at].text}”: {why}"
        for at, why in errors.items()
    }
    return BadAddresses(named, [one.line for one in people.entries])


def _invalid(errors: Mapping[int, str], people: PastedList) -> list[dict[str, Any]]:
    return [
        {
            "position": people.entries[at].line,
            "address": people.entries[at].text,
            "verdict": "invalid",
            "recognised": False,
            "duplicate_of": None,
            "assignment_uuid": None,
            "assignment": None,
            "problem": why,
            "warnings": [],
        }
        for at, why in errors.items()
    ]


def _left_out(people: PastedList) -> dict[str, Any]:
    dropped = [
        {"position": one.line, "text": one.text, "column": one.column or None} for one in people.dropped
    ]
    return {"dropped": dropped, **({"read_column": people.read_column} if people.read_column else {})}


def _warning(one: PreviewWarning | WarningSummary) -> dict[str, Any]:
    details = one.details if isinstance(one, PreviewWarning) else {"count": one.count}
    return {"code": one.code.value, "user_message": one.sentence, "next_step": one.next_step, **details}


def _match(one: Match, people: PastedList) -> dict[str, Any]:
    first, assignment = one.duplicate_of, one.assignment
    return {
        "position": people.entries[one.addressee.position].line,
        "address": one.addressee.address,
        "verdict": one.verdict.value,
        "recognised": one.known_by_other_address,
        "duplicate_of": None if first is None else people.entries[first].line,
        "assignment_uuid": assignment and str(assignment.uuid),
        "assignment": assignment
        and {
            "uuid": str(assignment.uuid),
            "content_key": assignment.content_key,
            "state": assignment.state,
        },
    }
