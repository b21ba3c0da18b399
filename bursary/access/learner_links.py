"""Linking learners to a customer: a row for each, and the role for those that have an account."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from bursary.access import known_learners
from bursary.access.models import LearnerLink, Role, RoleGrant
from bursary.budgets.models import Customer
from bursary.lib import inserts
from bursary.lib.locks import for_update
from bursary.lib.prepared import PreparedSelect, Slot

ROWS_PER_STATEMENT = 2000


def link(customer: Customer, addresses: Mapping[str, str], *, now: datetime) -> dict[str, int]:
    """Link learners, an address by its learner key, to the customer; return the link (pk) of each key.

    Call it inside a transaction. Links that exist are locked: one that an erasure is deleting is waited for,
    and made again. Safe to repeat.
    """
    links = dict(_LINKS.read(customer=customer.pk, keys=list(addresses)))
    model = LearnerLink(customer=customer, created=now)
    made = [
        inserts.alike(model, learner_key=key, mailbox_key=key, learner_email=addresses[key])
        # In one order everywhere: of two requests for the same learners, one waits for the other.
        for key in sorted(addresses.keys() - links.keys())
    ]
    unique = ("customer", "learner_key")
    inserts.insert_all(made, size=ROWS_PER_STATEMENT, unique=unique, update=["mailbox_key"])
    links |= {one.learner_key: one.pk for one in made if one.pk}
    if unnamed := addresses.keys() - links.keys():  # MySQL returns no keys of many inserted rows
        links |= dict(_LINKS.read(customer=customer.pk, keys=unnamed))
    _grant(customer, addresses)
    return links


def _links() -> QuerySet[LearnerLink, Any]:
    """Return the links of learners with the keys of a slot to the customer of another, locked."""
    field = LearnerLink._meta.get_field
    customer, keys = Slot("customer", field("customer")), Slot("keys", field("learner_key"))
    known = LearnerLink.objects.filter(customer=customer, learner_key__in=keys)
    return for_update(known).order_by("pk").values_list("learner_key", "pk")


_LINKS = PreparedSelect(_links)


def _grant(customer: Customer, addresses: Mapping[str, str]) -> None:
    """Let the accounts of these learners be learners of the customer."""
    accounts = known_learners.accounts(addresses)
    grants = [RoleGrant(user_id=user, role=Role.LEARNER, customer=customer) for user in accounts]
    for grant in grants:
        grant.set_scope()
    RoleGrant.objects.bulk_create(grants, batch_size=ROWS_PER_STATEMENT, ignore_conflicts=True)
