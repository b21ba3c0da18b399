"""The rows that an address names, for callers with a permission for their customer."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar, cast
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import Http404
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from bursary.access.models import User
from bursary.access.permissions import Permission, check_scope, granted, granted_to_account
from bursary.api.authentication import caller
from bursary.budgets.models import Account, Customer
from bursary.lib.prepared import PreparedSelect, Slot

Row = TypeVar("Row", bound=Model)
USER = Slot("user", User._meta.pk)
"""The place of the caller in a statement that is prepared."""


def permitted_row(
    rows: Callable[[], QuerySet[Row]],
    permission: Permission,
    *,
    which: Mapping[str, UUID | str],
    request: Request,
    customer: str,
    missing: str,
    foreign: str,
) -> Row:
    """Return the only one of `rows` that `which` matches; `customer` is the field of its customer. One query.

    Raises Http404 with the sentence `missing` if there is none, PermissionDenied with the sentence `foreign`
    if the caller lacks the permission.
    """
    user = caller(request)
    if user.token_roles is None:
        check_scope(user, permission)
        statement = _statement(rows, permission, customer, tuple(which))
        found = cast("Row | None", statement.first(user=user.pk, **which))
    else:
        permitted = granted(user, permission, customer=customer)
        found = rows().filter(**which).annotate(permitted=permitted).first()
    if found is None:
        raise Http404(missing)
    if not vars(found)["permitted"]:
        raise PermissionDenied(foreign)
    return found


@cache
def _statement(
    rows: Callable[[], QuerySet[Any]], permission: Permission, customer: str, names: tuple[str, ...]
) -> PreparedSelect:
    def asked() -> QuerySet[Any]:
        named: QuerySet[Any] = rows().order_by()
        slots = {name: Slot(name, named.model._meta.get_field(name)) for name in names}
        permitted = granted_to_account(USER, permission, customer=customer)
        named = named.filter(**slots).annotate(permitted=permitted)
        return named

    return PreparedSelect(asked)


def permitted_customer(request: Request, permission: Permission, **which: UUID | str) -> Customer:
    """Return the customer that `which` matches. One query. Raises Http404, PermissionDenied."""
    return permitted_row(
        Customer.objects.all,
        permission,
        which=which,
        request=request,
        customer="pk",
        missing="There is no such organisation.",
        foreign="Your role does not permit this with this organisation.",
    )


def permitted_account(request: Request, permission: Permission, *, uuid: UUID) -> Account:
    """Return the account, which clients call a subsidy. One query. Raises Http404, PermissionDenied."""
    return permitted_row(
        Account.objects.all,
        permission,
        which={"uuid": uuid},
        request=request,
        customer="customer_id",
        missing="There is no such subsidy.",
        foreign="Your role does not permit this with this organisation's subsidies.",
    )
