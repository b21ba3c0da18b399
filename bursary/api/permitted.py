"""Looks up the row that a URL names; a 404 for callers without the permission for its customer."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar, cast
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import Http404
from rest_framework.exceptions import ValidationError
from rest_framework.fields import SkipField, empty
from rest_framework.request import Request
from rest_framework.serializers import Serializer

from bursary.access.models import User
from bursary.access.permissions import Permission, check_scope, granted, granted_to_account
from bursary.api.authentication import caller
from bursary.api.inputs import validated
from bursary.budgets.models import Account, Customer
from bursary.lib.prepared import Parameter, PreparedSelect

Row = TypeVar("Row", bound=Model)
USER = Parameter("user", User._meta.pk)
"""The parameter of the caller's id in a prepared statement."""

NO_CUSTOMER = "There is no such organisation."
_NAMES = {"enterprise_customer_uuid": "uuid", "enterprise_customer_slug": "slug"}
"""The parameters that name a customer, and the column of each."""


def permitted_row(
    rows: Callable[[], QuerySet[Row]],
    permission: Permission,
    *,
    which: Mapping[str, UUID | str],
    request: Request,
    customer: str,
    missing: str,
) -> Row:
    """Return the one of `rows` that matches `which`; `customer` is the field of its customer. One query.

    Raises Http404 with the sentence `missing` if there is none, and also if the caller lacks the permission,
    so as not to reveal that the row exists. Raises ScopeTooNarrow whether it exists or not.
    """
    user = caller(request)
    if user.token_roles is None:
        check_scope(user, permission)
        statement = _statement(rows, permission, customer, tuple(which))
        found = cast("Row | None", statement.first(user=user.pk, **which))
    else:
        permitted = granted(user, permission, customer=customer)
        found = rows().filter(**which).annotate(permitted=permitted).first()
    if found is None or not vars(found)["permitted"]:
        raise Http404(missing)
    return found


@cache
def _statement(
    rows: Callable[[], QuerySet[Any]], permission: Permission, customer: str, names: tuple[str, ...]
) -> PreparedSelect:
    @PreparedSelect
    def statement() -> QuerySet[Any]:
        named: QuerySet[Any] = rows().order_by()
        parameters = {name: Parameter(name, named.model._meta.get_field(name)) for name in names}
        permitted = granted_to_account(USER, permission, customer=customer)
        named = named.filter(**parameters).annotate(permitted=permitted)
        return named

    return statement


def permitted_customer(request: Request, permission: Permission, **which: UUID | str) -> Customer:
    """Return the customer that matches `which`. One query. Raises Http404, ScopeTooNarrow."""
    return permitted_row(
        Customer.objects.all,
        permission,
        which=which,
        request=request,
        customer="pk",
        missing=NO_CUSTOMER,
    )


def named_customer(
    request: Request, permission: Permission, *, shape: type[Serializer[Any]], sent: object
) -> tuple[Customer, dict[str, Any]]:
    """Return the customer that a body or a query string names, and the values, parsed by `shape`.

    If the customer's name is readable, the permission is checked before the other values. One query. Raises
    Http404, ScopeTooNarrow, ValidationError.
    """
    try:
        values = validated(shape, sent)
    except ValidationError:
        if which := _readable_names(shape, sent):
            permitted_customer(request, permission, **which)
        raise
    which = {column: values[name] for name, column in _NAMES.items() if name in values}
    return permitted_customer(request, permission, **which), values


def _readable_names(shape: type[Serializer[Any]], sent: object) -> dict[str, UUID | str]:
    found: dict[str, UUID | str] = {}
    if isinstance(sent, Mapping):
        for name, field in shape().fields.items():
            if name in _NAMES:
                with suppress(ValidationError, SkipField):
                    found[_NAMES[name]] = field.run_validation(sent.get(name, empty))
    return found


def permitted_account(request: Request, permission: Permission, *, uuid: UUID) -> Account:
    """Return the account, which clients call a subsidy. One query. Raises Http404, ScopeTooNarrow."""
    return permitted_row(
        Account.objects.all,
        permission,
        which={"uuid": uuid},
        request=request,
        customer="customer_id",
        missing="There is no such subsidy.",
    )
