"""Correction of addresses in all open assignments of a customer."""

from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from bursary.access.permissions import Permission
from bursary.api.assignments import BudgetView
from bursary.api.authentication import caller
from bursary.api.inputs import FlagField, ListField, TextField, example, validated
from bursary.api.refusals import Unprocessable
from bursary.assignments import address_corrections
from bursary.assignments.address_corrections import MAX_PAIRS, REFUSALS, Correction
from bursary.assignments.matching import BadAddresses

REFUSED = (BadAddresses.reason, *REFUSALS)
"""Why a pair is not corrected."""


class AddressPairInput(serializers.Serializer[Any]):
    default_error_messages = {"invalid": "A pair is a JSON object with old_address and new_address."}
    old_address = TextField(max_length=1000)
    new_address = TextField(max_length=1000)


@example(
    {
        "corrections": [
            {"old_address": "lena@larkspur.invalid", "new_address": "lena.learner@larkspur.example"}
        ],
        "dry_run": True,
    }
)
class CorrectAddressesInput(serializers.Serializer[Any]):
    """Pairs of addresses; with `dry_run`, nothing is changed."""

    corrections = ListField(child=AddressPairInput(), min_length=1, max_length=MAX_PAIRS)
    dry_run = FlagField(default=False)


class CorrectedOutput(AddressPairInput):
    """A corrected pair, and the assignments in which it was corrected."""

    assignment_uuids = serializers.ListField(child=serializers.UUIDField())


class NotCorrectedOutput(AddressPairInput):
    """A refused pair, and the reason."""

    reason = serializers.ChoiceField(choices=REFUSED)
    user_message = serializers.CharField()
    next_step = serializers.CharField()


class CorrectAddressesOutput(serializers.Serializer[Any]):
    """Each pair, under one of two results."""

    dry_run = serializers.BooleanField()
    corrected = CorrectedOutput(many=True)
    not_corrected = NotCorrectedOutput(many=True)


class CorrectAddresses(BudgetView):
    """Correct addresses in all open assignments of the budget's customer, each pair all or nothing.

    The new address is linked and notified; links sent to the old one stop working. Answers 422 if no pair
    could be corrected.
    """

    permission = Permission.ALLOCATE
    reasons = {422: REFUSED}

    @extend_schema(request=CorrectAddressesInput, responses=CorrectAddressesOutput)
    def post(self, request: Request, **_url: UUID) -> Response:
        within = Q(budget__customer=self.budget.customer_id)
        body = validated(CorrectAddressesInput, request.data)
        done = address_corrections.correct_pairs(
            [(pair["old_address"], pair["new_address"]) for pair in body["corrections"]],
            now=timezone.now(),
            actor=caller(request),
            within=within,
            dry_run=body["dry_run"],
        )
        refused = [
            {
                "reason": one.reason,
                "user_message": one.sentence,
                "next_step": one.next_step,
                **_pair(one),
            }
            for one in done
            if one.reason
        ]
        if len(refused) == len(done):
            raise Unprocessable(refused)
        corrected = [{**_pair(one), "assignment_uuids": one.corrected} for one in done if not one.reason]
        return Response({"dry_run": body["dry_run"], "corrected": corrected, "not_corrected": refused})


def _pair(one: Correction) -> dict[str, str]:
    return {"old_address": one.old, "new_address": one.new}
