"""Empty responses to requests of clients for data that Bursary does not have.

Learners do not ask for courses here: an administrator assigns them. So there are no requests for learner
credit, licences or coupons, and no configuration of such requests. `docs/clients.md` lists these URLs.
"""

from typing import Any
from uuid import UUID

from django.utils.translation import gettext
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from bursary.access.permissions import Permission
from bursary.api.inputs import FlagField, TextField, UuidField, example, validated
from bursary.api.learner_portal import no_enrollments
from bursary.api.paging import PageOutput, Pages
from bursary.api.permitted import named_customer, permitted_customer
from bursary.api.views import APIView
from bursary.budgets.models import LedgerEntry


class RequestsInput(serializers.Serializer[Any]):
    """The query of lists of requests. Other parameters are ignored, as the list is always empty."""

    enterprise_customer_uuid = serializers.UUIDField()


class RequestsOutput(PageOutput):
    """An empty page."""

    results = serializers.ListField(child=serializers.DictField())


class RequestCountOutput(serializers.Serializer[Any]):
    """The number of requests in a state."""

    state = serializers.CharField()
    count = serializers.IntegerField()


@example(
    {
        "enterprise_customer_uuid": "554d1034-ae2c-4781-a218-9ce6535dbb76",
        "subsidy_requests_enabled": False,
    }
)
class ConfigurationInput(serializers.Serializer[Any]):
    """The body of the configuration of requests: the values that are accepted."""

    enterprise_customer_uuid = UuidField()
    subsidy_requests_enabled = FlagField(default=False, help_text="False, the only value that is accepted")
    subsidy_type = TextField(required=False, allow_null=True, help_text="Any value, which is ignored")

    def validate_subsidy_requests_enabled(self, value: bool) -> bool:
        """Return false. Raises ValidationError for true."""
        if value:
            raise serializers.ValidationError(gettext("Learners cannot ask for courses here."))
        return value


class ConfigurationOutput(serializers.Serializer[Any]):
    """Whether learners may ask for courses: they may not."""

    enterprise_customer_uuid = serializers.UUIDField()
    subsidy_requests_enabled = serializers.BooleanField()
    subsidy_type = serializers.CharField(allow_null=True)
    changed_by_lms_user_id = serializers.IntegerField(allow_null=True)


class LearnerProfileInput(serializers.Serializer[Any]):
    """The query of a learner's profile."""

    enterprise_customer_uuid = serializers.UUIDField()
    user_email = serializers.CharField(required=False, max_length=254)
    lms_user_id = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)


class LearnerProfileOutput(serializers.Serializer[Any]):
    """A learner's profile in other services; Bursary has none of it."""

    subscriptions = serializers.ListField(child=serializers.DictField())
    group_memberships = serializers.ListField(child=serializers.DictField())
    enrollments = serializers.DictField(child=serializers.ListField(child=serializers.DictField()))


class CanRequestInput(serializers.Serializer[Any]):
    """The query of the check whether a learner may ask for a course."""

    content_key = serializers.CharField()


class CanRequestOutput(serializers.Serializer[Any]):
    """Whether a learner may ask for a course, and why not."""

    content_key = serializers.CharField()
    can_request = serializers.BooleanField()
    reason = serializers.CharField(
        allow_null=True, help_text="Why the learner may not ask for the course, in a sentence"
    )
    requestable_subsidy_access_policy = serializers.DictField(allow_null=True)


class RequestList(APIView):
    """List requests of an organisation's learners: there are none."""

    query = (RequestsInput,)
    takes_any_parameter = True
    pagination_class = Pages

    @extend_schema(responses=RequestsOutput)
    def get(self, request: Request) -> Response:
        named_customer(request, Permission.READ_OWN, shape=RequestsInput, sent=request.query_params)
        pages = Pages()
        pages.paginate_queryset(LedgerEntry.objects.none(), request, view=self)
        return pages.get_paginated_response([])


class RequestOverview(APIView):
    """Count requests of an organisation's learners by state: there are none."""

    query = (RequestsInput,)
    takes_any_parameter = True

    @extend_schema(responses=RequestCountOutput(many=True))
    def get(self, request: Request) -> Response:
        named_customer(request, Permission.READ_OWN, shape=RequestsInput, sent=request.query_params)
        return Response([])


class CustomerConfiguration(APIView):
    """Read whether an organisation's learners may ask for courses: they may not."""

    @extend_schema(responses=ConfigurationOutput)
    def get(self, request: Request, customer_uuid: UUID) -> Response:
        customer = permitted_customer(request, Permission.READ_OWN, uuid=customer_uuid)
        return Response(_configuration(customer.uuid))


class CustomerConfigurations(APIView):
    """Accept the setting that an organisation's learners may not ask for courses; nothing is stored."""

    @extend_schema(request=ConfigurationInput, responses={200: ConfigurationOutput})
    def post(self, request: Request) -> Response:
        customer, _body = named_customer(
            request, Permission.READ_BUDGET, shape=ConfigurationInput, sent=request.data
        )
        return Response(_configuration(customer.uuid))


class CanRequest(APIView):
    """Check whether you may ask for a course: an administrator assigns it instead."""

    query = (CanRequestInput,)

    @extend_schema(responses=CanRequestOutput)
    def get(self, request: Request, customer_uuid: UUID) -> Response:
        permitted_customer(request, Permission.READ_OWN, uuid=customer_uuid)
        key = validated(CanRequestInput, request.query_params)["content_key"]
        sentence = gettext("Courses are assigned by your organisation. Ask an administrator.")
        answer = {"content_key": key, "can_request": False, "reason": sentence}
        return Response({**answer, "requestable_subsidy_access_policy": None})


class LearnerProfile(APIView):
    """Read a learner's profile in other services: Bursary has none of it. Assignments are at
    `credits_available`."""

    query = (LearnerProfileInput,)

    @extend_schema(responses=LearnerProfileOutput)
    def get(self, request: Request) -> Response:
        named_customer(
            request, Permission.READ_ASSIGNMENTS, shape=LearnerProfileInput, sent=request.query_params
        )
        empty: dict[str, Any] = {"subscriptions": [], "group_memberships": []}
        return Response({**empty, "enrollments": no_enrollments()})


def _configuration(customer_uuid: UUID) -> dict[str, Any]:
    return {
        "enterprise_customer_uuid": str(customer_uuid),
        "subsidy_requests_enabled": False,
        "subsidy_type": None,
        "changed_by_lms_user_id": None,
    }
