"""The rows that an address names, for callers with a permission for their customer."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import Http404
from rest_framework.exceptions import ValidationError
from rest_framework.fields import SkipField, empty
from rest_framework.request import Request
from rest_framework.serializers import Serializer

from bursary.access.permissions import Permission, granted
from bursary.api.authentication import caller
from bursary.api.inputs import validated
from bursary.budgets.models import Account, Customer

Row = TypeVar("Row", bound=Model)

NO_CUSTOMER = "There is no such organisation."
_NAMES = {"enterprise_customer_uuid": "uuid", "enterprise_customer_slug": "slug"}
"""The names of a customer in bodies and query strings, and its columns."""


def permitted_row(
    rows: QuerySet[Row], permission: Permission, *, request: Request, customer: str, missing: str
) -> Row:
    """Return the only row of `rows`; `customer` is the field of its customer. One query.

    Raises Http404 with the sentence `missing` if there is none, and also if the caller lacks the permission:
    that a row is there is part of what a role shows. Raises ScopeTooNarrow whether it is there or not.
    """
    found = rows.filter(granted(caller(request), permission, customer=customer)).first()
    if found is None:
        raise Http404(missing)
    return found


def permitted_customer(request: Request, permission: Permission, **which: UUID | str) -> Customer:
    """Return the customer that `which` matches. One query. Raises Http404, ScopeTooNarrow."""
    return permitted_row(
        Customer.objects.filter(**which),
        permission,
        request=request,
        customer="pk",
        missing=NO_CUSTOMER,
    )


def named_customer(
    request: Request, permission: Permission, *, shape: type[Serializer[Any]], sent: object
) -> tuple[Customer, dict[str, Any]]:
    """Return the customer that a body or a query string names, and its values, parsed by `shape`.

    The permission comes before what else is wrong with it, if the customer can be read. One query. Raises
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
        Account.objects.filter(uuid=uuid),
        permission,
        request=request,
        customer="customer_id",
        missing="There is no such subsidy.",
    )
