"""Budgets: the list, one budget, and the permission check that other views share."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from rest_framework import generics
from rest_framework.request import Request

from bursary.access.permissions import Permission, granted
from bursary.api.authentication import caller
from bursary.api.paging import Pages
from bursary.api.permitted import permitted_row
from bursary.api.policy_serializers import PolicySerializer
from bursary.api.views import APIView
from bursary.assignments.filters import FlagFilter
from bursary.budgets.models import Budget


def permitted_budget(request: Request, permission: Permission, **which: UUID) -> Budget:
    """Return the budget that matches `which`, with its customer and account. One query.

    Raises Http404 if there is none or the caller lacks the permission for it, and ScopeTooNarrow.
    """
    return permitted_row(
        _with_account,
        permission,
        which=which,
        request=request,
        customer="customer_id",
        missing="There is no such budget.",
    )


def _with_account() -> QuerySet[Budget]:
    return Budget.objects.select_related("customer", "account")


class PolicyFilters(filters.FilterSet):
    enterprise_customer_uuid = filters.UUIDFilter(field_name="customer__uuid")
    active = FlagFilter()

    class Meta:
        model = Budget
        fields = ("enterprise_customer_uuid", "active")


class _Policies(APIView, generics.GenericAPIView[Budget]):
    serializer_class = PolicySerializer
    queryset = Budget.objects.select_related("customer", "account").order_by("name", "pk")

    def get_queryset(self) -> QuerySet[Budget]:
        visible = granted(caller(self.request), Permission.READ_BUDGET, customer="customer_id")
        return super().get_queryset().filter(visible)

    def get_serializer_context(self) -> dict[str, Any]:
        return {"request": self.request, "now": timezone.now()}


class PolicyList(_Policies, generics.ListAPIView[Budget]):
    """List the budgets that you may see, with their amounts."""

    pagination_class = Pages
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = PolicyFilters


class PolicyDetail(_Policies, generics.RetrieveAPIView[Budget]):
    """Read one budget, with its amounts."""

    def get_object(self) -> Budget:
        """Return the budget in the URL. Raises Http404, ScopeTooNarrow."""
        return permitted_budget(self.request, Permission.READ_BUDGET, uuid=self.kwargs["policy_uuid"])
