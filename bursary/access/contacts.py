"""Addresses of an organisation: for its learners' questions, and for notices to its administrators."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from bursary.access.models import NoticeAddress, Role, RoleGrant, SeenAdministrator, User
from bursary.budgets.models import Customer
from bursary.lib import batches
from bursary.lib.prepared import Parameter, PreparedSelect

SEEN_WITHIN = timedelta(days=90)
"""How long an administrator by token stays a contact after the last token with that role."""


@dataclass(frozen=True)
class NoticeContact:
    """An address for notices. `key` is the pk of its account, or the negative pk of its NoticeAddress."""

    key: int
    email: str


def contact(customer: Customer) -> str:
    """Return the customer's `contact_email`, else its first administrator's address; empty without either.

    At most one query.
    """
    return contacts_of([customer])[customer.pk]


def contacts_of(customers: Collection[Customer]) -> dict[int, str]:
    """Return the `contact` of each customer, by the customers' pks. At most one query."""
    found = {one.pk: one.contact_email for one in customers}
    if unnamed := [pk for pk, email in found.items() if not email]:
        found |= _first_administrators.read(customers=unnamed)
    return found


@PreparedSelect
def _first_administrators() -> QuerySet[Customer, Any]:
    """Return the pks of these customers, each with its first administrator's address or an empty one."""
    grants = RoleGrant.objects.filter(role=Role.ADMINISTRATOR, user__is_active=True)
    grants = grants.filter(customer=OuterRef("pk")).exclude(user__email="").order_by("user")
    first = Coalesce(Subquery(grants.values("user__email")[:1]), Value(""))
    customers = Customer.objects.filter(pk__in=Parameter("customers", Customer._meta.pk))
    return customers.order_by().values_list("pk", first)


def for_notices(
    customer_pk: int, *, now: datetime, without: Collection[int], limit: int
) -> list[NoticeContact]:
    """Return at most `limit` contacts for a customer's notices, except those with the keys in `without`.

    They are the customer's notice addresses. Without any, they are its administrators: by role, or by a token
    within `SEEN_WITHIN`. Two queries.
    """
    named = NoticeAddress.objects.filter(customer=customer_pk).order_by("pk")[: limit + len(without)]
    if found := [NoticeContact(-one.pk, one.address) for one in named]:
        return [one for one in found if one.key not in without][:limit]
    own = {"user": OuterRef("pk"), "customer": customer_pk}
    by_role = RoleGrant.objects.filter(role=Role.ADMINISTRATOR, **own)
    by_token = SeenAdministrator.objects.filter(seen_at__gt=now - SEEN_WITHIN, **own)
    users = User.objects.filter(Exists(by_role) | Exists(by_token), is_active=True)
    rows = users.exclude(Q(email="") | Q(pk__in=without)).order_by("pk").values_list("pk", "email")
    return [NoticeContact(pk, email) for pk, email in rows[:limit]]


def delete_unseen(*, now: datetime) -> int:
    """Delete contacts by token that were not seen within `SEEN_WITHIN`; return their number, bounded."""
    old = SeenAdministrator.objects.filter(seen_at__lte=now - SEEN_WITHIN)
    return batches.delete_first(old.order_by("seen_at"))
