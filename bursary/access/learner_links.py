"""Linking learners to a customer: a row for each, and the role for those that have an account."""

from collections.abc import Mapping
from datetime import datetime

from bursary.access import known_learners
from bursary.access.models import LearnerLink, Role, RoleGrant
from bursary.budgets.models import Customer
from bursary.lib.batches import unique_fields
from bursary.lib.locks import for_update

ROWS_PER_STATEMENT = 2000


def link(customer: Customer, addresses: Mapping[str, str], *, now: datetime) -> dict[str, int]:
    """Link learners, an address by its learner key, to the customer; return the link (pk) of each key.

    Call it inside a transaction. Links that exist are locked: one that an erasure is deleting is waited for,
    and made again. Safe to repeat.
    """
    known = LearnerLink.objects.filter(customer=customer, learner_key__in=addresses)
    links = dict(for_update(known).order_by("pk").values_list("learner_key", "pk"))
    made = LearnerLink.objects.bulk_create(
        [
            LearnerLink(
                customer=customer,
                learner_key=key,
                mailbox_key=key,
                learner_email=addresses[key],
                created=now,
            )
            # In one order everywhere: of two requests for the same learners, one waits for the other.
            for key in sorted(addresses.keys() - links.keys())
        ],
        batch_size=ROWS_PER_STATEMENT,
        update_conflicts=True,
        unique_fields=unique_fields("customer", "learner_key"),
        update_fields=["mailbox_key"],
    )
    links |= {one.learner_key: one.pk for one in made if one.pk}
    if unnamed := addresses.keys() - links.keys():  # MySQL returns no keys of many inserted rows
        links |= dict(known.filter(learner_key__in=unnamed).values_list("learner_key", "pk"))
    _grant(customer, addresses)
    return links


def _grant(customer: Customer, addresses: Mapping[str, str]) -> None:
    """Let the accounts of these learners be learners of the customer."""
    accounts = known_learners.accounts_of(addresses).order_by("pk")
    grants = [RoleGrant(user=user, role=Role.LEARNER, customer=customer) for user in accounts.only("pk")]
    for grant in grants:
        grant.set_scope()
    RoleGrant.objects.bulk_create(grants, batch_size=ROWS_PER_STATEMENT, ignore_conflicts=True)
