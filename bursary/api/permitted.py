"""The rows that an address names, for callers with a permission for their customer."""

from typing import TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import Http404
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from bursary.access.permissions import Permission, granted
from bursary.api.authentication import caller
from bursary.budgets.models import Account, Customer

Row = TypeVar("Row", bound=Model)


def permitted_row(
    rows: QuerySet[Row],
    permission: Permission,
    *,
    request: Request,
    customer: str,
    missing: str,
    foreign: str,
) -> Row:
    """Return the only row of `rows`; `customer` is the field of its customer. One query.

    Raises Http404 with the sentence `missing` if there is none, PermissionDenied with the sentence `foreign`
    if the caller lacks the permission.
    """
    found = rows.annotate(permitted=granted(caller(request), permission, customer=customer)).first()
    if found is None:
        raise Http404(missing)
    if not vars(found)["permitted"]:
        raise PermissionDenied(foreign)
    return found


def permitted_customer(request: Request, permission: Permission, **which: UUID | str) -> Customer:
    """Return the customer that `which` matches. One query. Raises Http404, PermissionDenied."""
    return permitted_row(
        Customer.objects.filter(**which),
        permission,
        request=request,
        customer="pk",
        missing="There is no such organisation.",
        foreign="Your role does not permit this with this organisation.",
    )


def permitted_account(request: Request, permission: Permission, *, uuid: UUID) -> Account:
    """Return the account, which clients call a subsidy. One query. Raises Http404, PermissionDenied."""
    return permitted_row(
        Account.objects.filter(uuid=uuid),
        permission,
        request=request,
        customer="customer_id",
        missing="There is no such subsidy.",
        foreign="Your role does not permit this with this organisation's subsidies.",
    )
