"""The pages of the learner portal, each in one response: the organisation, and the caller's roles.

Assignments are not included: they have a URL of their own.

Clients call these URLs "BFF". Data of other services, such as enrolments, licences and the keys of a search
service, is empty: `docs/clients.md` lists it.
"""

from typing import Any

from django.utils.translation import gettext
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from bursary.access.contacts import contact
from bursary.access.models import User
from bursary.access.permissions import Permission, own_customers
from bursary.api.authentication import caller
from bursary.api.inputs import TextField, UuidField, example
from bursary.api.permitted import named_customer
from bursary.api.views import APIView
from bursary.budgets.models import Customer

MAX_CUSTOMERS = 100
COLOURS = {"primary_color": "#2D494E", "secondary_color": "#F2F0EF", "tertiary_color": "#D23228"}
"""Clients need colours; Bursary does not store an organisation's own."""
SWITCHED_ON = ("active", "enable_learner_portal", "enable_portal_learner_credit_management_screen")
SWITCHED_OFF = (
    "disable_expiry_messaging_for_learner_credit",
    "disable_search",
    "enable_academies",
    "enable_analytics_screen",
    "enable_audit_data_reporting",
    "enable_audit_enrollment",
    "enable_browse_and_request",
    "enable_data_sharing_consent",
    "enable_demo_data_for_analytics_and_lpr",
    "enable_executive_education_2U_fulfillment",
    "enable_generation_of_api_credentials",
    "enable_integrated_customer_learner_portal_search",
    "enable_learner_portal_offers",
    "enable_learner_portal_sidebar_message",
    "enable_one_academy",
    "enable_pathways",
    "enable_portal_code_management_screen",
    "enable_portal_lms_configurations_screen",
    "enable_portal_reporting_config_screen",
    "enable_portal_saml_configuration_screen",
    "enable_portal_subscription_management_screen",
    "enable_programs",
    "enable_slug_login",
    "enable_universal_link",
    "hide_course_original_price",
    "hide_labor_market_data",
    "replace_sensitive_sso_username",
    "show_integration_warning",
    "show_videos_in_learner_portal_search_results",
    "sync_learner_profile_data",
)


@example({"enterprise_customer_slug": "larkspur"})
class PortalPageInput(serializers.Serializer[Any]):
    """The body of a page of the learner portal: the organisation, by its slug or its uuid."""

    enterprise_customer_slug = TextField(required=False, max_length=64)
    enterprise_customer_uuid = UuidField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the values. Raises ValidationError if neither slug nor uuid is given."""
        if not attrs:
            sentence = gettext("Name the organisation by its slug, or by its uuid.")
            raise serializers.ValidationError({"enterprise_customer_slug": [sentence]})
        return attrs


class BrandingOutput(serializers.Serializer[Any]):
    """An organisation's branding: constant colours, and no logo."""

    logo = serializers.CharField(allow_null=True)
    primary_color = serializers.CharField()
    secondary_color = serializers.CharField()
    tertiary_color = serializers.CharField()


class PortalCustomerOutput(serializers.Serializer[Any]):
    """An organisation. The portal's many settings, such as `enable_…`, are constants."""

    open_ended = True

    uuid = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    contact_email = serializers.CharField(allow_null=True)
    branding_configuration = BrandingOutput()
    admin_users = serializers.ListField(
        child=serializers.DictField(),
        help_text="The contact for learners, as an array of one; empty if there is none",
    )
    active_integrations = serializers.ListField(child=serializers.DictField(), help_text="Always empty")


class LinkedCustomerOutput(serializers.Serializer[Any]):
    """An organisation in which the caller has a role."""

    id = serializers.IntegerField()
    user_id = serializers.IntegerField(
        allow_null=True, help_text="The caller's LMS user id; null if it is unknown"
    )
    enterprise_customer = PortalCustomerOutput()
    active = serializers.BooleanField(help_text="Whether the request is for this organisation")


class AlgoliaOutput(serializers.Serializer[Any]):
    """The keys of a search service, always null."""

    secured_algolia_api_key = serializers.CharField(allow_null=True)
    valid_until = serializers.DateTimeField(allow_null=True)


class PortalPageOutput(serializers.Serializer[Any]):
    """A page of the learner portal."""

    enterprise_customer = PortalCustomerOutput()
    active_enterprise_customer = PortalCustomerOutput()
    all_linked_enterprise_customer_users = LinkedCustomerOutput(many=True)
    staff_enterprise_customer = PortalCustomerOutput(allow_null=True, help_text="Always null")
    should_update_active_enterprise_customer_user = serializers.BooleanField(help_text="Always false")
    enterprise_features = serializers.DictField(help_text="Always empty")
    enterprise_customer_user_subsidies = serializers.DictField(
        help_text="`subscriptions`, with empty lists: Bursary has no licences"
    )
    has_bnr_enabled_policy = serializers.BooleanField(
        help_text="Always false: learners do not ask for courses here"
    )
    algolia = AlgoliaOutput()
    catalog_uuids_to_catalog_query_uuids = serializers.DictField(help_text="Always empty")
    errors = serializers.ListField(  # type: ignore[assignment]  # shadows DRF's own
        child=serializers.DictField(), help_text="Always empty"
    )
    warnings = serializers.ListField(child=serializers.DictField(), help_text="Always empty")


class PortalDashboardOutput(PortalPageOutput):
    """The first page of the learner portal."""

    enterprise_course_enrollments = serializers.ListField(
        child=serializers.DictField(), help_text="Always empty: the LMS knows the enrolments"
    )
    all_enrollments_by_status = serializers.DictField(
        child=serializers.ListField(child=serializers.DictField()),
        help_text="Four lists by status, always empty",
    )


class PortalPage(APIView):
    """Read an organisation and your roles in it and others, for a page of the learner portal."""

    @extend_schema(request=PortalPageInput, responses={200: PortalPageOutput})
    def post(self, request: Request) -> Response:
        return Response(self.answer(request))

    def answer(self, request: Request) -> dict[str, Any]:
        """Return the page's body. At most three queries. Raises Http404, ValidationError."""
        customer, _body = named_customer(
            request, Permission.READ_OWN, shape=PortalPageInput, sent=request.data
        )
        return _page(customer, user=caller(request))


class PortalDashboard(PortalPage):
    """Read an organisation and your roles, for the first page of the learner portal. Enrolments are empty."""

    @extend_schema(request=PortalPageInput, responses={200: PortalDashboardOutput})
    def post(self, request: Request) -> Response:
        return Response(
            {
                **self.answer(request),
                "enterprise_course_enrollments": [],
                "all_enrollments_by_status": no_enrollments(),
            }
        )


def no_enrollments() -> dict[str, list[Any]]:
    """Return an empty list of enrolments for each status that clients read."""
    return {status: [] for status in ("in_progress", "upcoming", "completed", "saved_for_later")}


def _page(customer: Customer, *, user: User) -> dict[str, Any]:
    shown = _customer(customer, contact_email=contact(customer))
    others = own_customers(user).exclude(pk=customer.pk)[: MAX_CUSTOMERS - 1]
    linked = [(customer, shown), *((one, _customer(one, contact_email=one.contact_email)) for one in others)]
    licences: dict[str, list[Any]] = {
        status: [] for status in ("activated", "assigned", "expired", "revoked")
    }
    return {
        "enterprise_customer": shown,
        "active_enterprise_customer": shown,
        "all_linked_enterprise_customer_users": [
            {
                "id": one.pk,
                "user_id": user.lms_user_id,
                "enterprise_customer": body,
                "active": one.pk == customer.pk,
            }
            for one, body in linked
        ],
        "staff_enterprise_customer": None,
        "should_update_active_enterprise_customer_user": False,
        "enterprise_features": {},
        "enterprise_customer_user_subsidies": {
            "subscriptions": {
                "customer_agreement": None,
                "subscription_licenses": [],
                "subscription_licenses_by_status": licences,
                "subscription_license": None,
                "subscription_plan": None,
                "show_expiration_notifications": False,
            }
        },
        "has_bnr_enabled_policy": False,
        "algolia": {"secured_algolia_api_key": None, "valid_until": None},
        "catalog_uuids_to_catalog_query_uuids": {},
        "errors": [],
        "warnings": [],
    }


def _customer(customer: Customer, *, contact_email: str) -> dict[str, Any]:
    return {
        "uuid": str(customer.uuid),
        "slug": customer.slug,
        "name": customer.name,
        "contact_email": contact_email or None,
        "admin_users": [{"email": contact_email, "lms_user_id": None}] if contact_email else [],
        "branding_configuration": {"logo": None, **COLOURS},
        "active_integrations": [],
        "identity_provider": None,
        "identity_providers": [],
        "enterprise_customer_catalogs": [],
        "enforce_data_sharing_consent": "externally_managed",
        **dict.fromkeys(SWITCHED_ON, True),
        **dict.fromkeys(SWITCHED_OFF, False),
    }
