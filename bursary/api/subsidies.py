"""The transactions of an account, which clients call a subsidy, in enterprise-subsidy's format."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework import generics, serializers

from bursary.access.permissions import Permission
from bursary.api.paging import Pages
from bursary.api.permitted import permitted_account
from bursary.api.serializers import TextOrNullField
from bursary.api.views import APIView
from bursary.assignments import ledger_entries
from bursary.assignments.ledger_entries import COMMITTED, LedgerEntryFilters, PaidAssignment
from bursary.budgets.models import LedgerEntry


class ReversalSerializer(serializers.Serializer[LedgerEntry]):
    """The refund of a whole transaction."""

    uuid = serializers.UUIDField(help_text="The uuid of the transaction, which is refunded once at most")
    state = serializers.SerializerMethodField(help_text="The refund's state: always `committed`")
    created = serializers.DateTimeField(source="reversed_at")
    quantity = serializers.IntegerField(source="cents", help_text="The refunded amount in cents, positive")

    def get_state(self, _entry: LedgerEntry) -> str:
        """Return the refund's state: the ledger refunds at once."""
        return COMMITTED


class TransactionSerializer(serializers.Serializer[PaidAssignment]):
    """Money spent on one assignment. The fields of its learner and content are null if unknown."""

    uuid = serializers.UUIDField(source="entry.uuid")
    state = serializers.CharField(default=COMMITTED, read_only=True)
    created = serializers.DateTimeField(source="entry.created_at")
    modified = serializers.SerializerMethodField(
        help_text="When the transaction was refunded, else when it was made"
    )
    subsidy_access_policy_uuid = serializers.UUIDField(
        source="entry.budget.uuid", help_text="The uuid of the budget"
    )
    unit = serializers.CharField(default="usd_cents", read_only=True)
    quantity = serializers.SerializerMethodField(
        help_text="The spent amount in cents, zero or negative, also after a refund"
    )
    reversal = serializers.SerializerMethodField(help_text="The refund; null if there was none")
    fulfillment_identifier = serializers.UUIDField(
        source="assignment.uuid", default=None, allow_null=True, help_text="The uuid of the assignment"
    )
    lms_user_id = serializers.SerializerMethodField(
        help_text="The learner's LMS user id; null if it is unknown or the person is no learner of "
        "the budget's organisation"
    )
    lms_user_email = TextOrNullField(source="assignment.learner_email", default=None)
    content_key = TextOrNullField(
        help_text="The key of the run that was redeemed, else of the assigned content"
    )
    parent_content_key = serializers.SerializerMethodField(
        help_text="The key of the course, also if a run of it was assigned"
    )
    content_title = TextOrNullField(source="assignment.shown_content.title", default=None)
    course_run_start_date = serializers.DateTimeField(
        source="assignment.shown_content.start_date", default=None, allow_null=True
    )

    def get_modified(self, paid: PaidAssignment) -> str:
        """Return the time of the last change."""
        moment = paid.entry.reversed_at or paid.entry.created_at
        return str(serializers.DateTimeField().to_representation(moment))

    def get_quantity(self, paid: PaidAssignment) -> int:
        """Return the spent amount in cents, negative."""
        return -paid.entry.cents

    @extend_schema_field(ReversalSerializer(allow_null=True))
    def get_reversal(self, paid: PaidAssignment) -> dict[str, Any] | None:
        """Return the refund, else null."""
        return ReversalSerializer(paid.entry).data if paid.entry.reversed_at else None

    def get_lms_user_id(self, paid: PaidAssignment) -> int | None:
        """Return the id if the person is a learner of the budget's organisation, as `listing` determines."""
        learns_here = getattr(paid.assignment, "learns_here", False)
        return paid.assignment.lms_user_id if paid.assignment and learns_here else None

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_parent_content_key(self, paid: PaidAssignment) -> str | None:
        """Return the key of the course, also if a run of it was assigned."""
        assignment = paid.assignment
        return (assignment.parent_content_key or assignment.content_key) if assignment else None


class Transactions(APIView, generics.ListAPIView[LedgerEntry]):
    """List the transactions of a subsidy, an account of the ledger, newest first, in pages.

    Spent and refunded entries alike have the state `committed`; a refunded one has its `reversal`.
    """

    query = (
        OpenApiParameter(
            "course_product_line",
            str,
            description="This parameter is ignored; it is accepted because a client sends it",
        ),
    )
    serializer_class = TransactionSerializer  # type: ignore[assignment]  # of the entries with their assignments
    pagination_class = Pages
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = LedgerEntryFilters
    queryset = LedgerEntry.objects.none()

    def get_queryset(self) -> QuerySet[LedgerEntry]:
        """Return the entries of the account in the URL. Raises Http404, ScopeTooNarrow."""
        if "subsidy_uuid" not in self.kwargs:  # while the schema is made
            return super().get_queryset()
        account = permitted_account(
            self.request, Permission.READ_ASSIGNMENTS, uuid=self.kwargs["subsidy_uuid"]
        )
        return ledger_entries.of_account(account.uuid)

    def paginate_queryset(self, queryset: Any) -> Any:
        """Return the page's entries with their assignments."""
        return ledger_entries.with_assignments(super().paginate_queryset(queryset) or (), now=timezone.now())
