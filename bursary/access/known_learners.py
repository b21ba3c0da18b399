"""Known learners: their accounts, by any of their addresses, and their links to customers.

A customer knows the learners with a LearnerLink to it, and the accounts with the role of a learner there.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from bursary.access.models import AccountAddress, LearnerLink, Role, RoleGrant, User, of_mailboxes
from bursary.budgets.models import Customer
from bursary.lib import inserts
from bursary.lib.batches import chunks
from bursary.lib.locks import for_update
from bursary.lib.prepared import Parameter, PreparedSelect

KEYS_PER_QUERY = 5000
ROWS_PER_STATEMENT = 2000


@dataclass(frozen=True)
class KnownLearner:
    """The LMS user id and the other addresses of the accounts with an address."""

    lms_user_id: int | None = None
    other_keys: tuple[str, ...] = ()
    """The keys of the other addresses, in order."""


def by_keys(learner_keys: Sequence[str]) -> dict[str, KnownLearner]:
    """Return the learner of each key, by the present and earlier addresses of accounts.

    If several accounts have an LMS user id, one with the key's address as its present one is preferred, then
    the oldest. One query for each `KEYS_PER_QUERY` keys.
    """
    ids: dict[str, dict[tuple[bool, int], int]] = defaultdict(dict)
    keys_of: dict[int, set[str]] = defaultdict(set)
    for chunk in chunks(list(filter(None, learner_keys)), KEYS_PER_QUERY):
        for pk, mailbox_key, learner_key, lms_user_id, other_key in _accounts.read(keys=chunk):
            own = mailbox_key or learner_key
            for key in filter(None, (own, other_key)):
                keys_of[pk].add(key)
                if lms_user_id is not None:
                    ids[key][key != own, pk] = lms_user_id
    others: dict[str, set[str]] = defaultdict(set)
    for keys in keys_of.values():
        for key in keys:
            others[key] |= keys - {key}
    unknown = KnownLearner()
    return {
        key: KnownLearner(ids[key][min(ids[key])] if ids[key] else None, tuple(sorted(others[key])))
        if key in others
        else unknown
        for key in learner_keys
    }


def accounts(learner_keys: Iterable[str]) -> list[int]:
    """Return the pks, in order, of the accounts that have or had an address with one of these keys."""
    found = (_accounts.read(keys=chunk) for chunk in chunks(list(learner_keys), KEYS_PER_QUERY))
    return sorted({pk for pk, *_keys in chain.from_iterable(found)})


def all_keys(learner_key: str) -> list[str]:
    """Return this key, and then those of all other addresses of its accounts. Empty for an empty key."""
    if not learner_key:
        return []
    return [learner_key, *by_keys([learner_key])[learner_key].other_keys]


@PreparedSelect
def _accounts() -> QuerySet[User, Any]:
    """Return the accounts that have or had an address with one of these keys."""
    keys = Parameter("keys", AccountAddress._meta.get_field("learner_key"))
    earlier = AccountAddress.objects.filter(learner_key__in=keys).values("user")
    present, had = (
        User.objects.filter(condition)
        .order_by()
        .values_list("pk", "mailbox_key", "learner_key", "lms_user_id", "other_addresses__learner_key")
        for condition in (of_mailboxes(keys), Q(pk__in=earlier))
    )
    return present.union(had)


def link(customer: Customer, addresses: Mapping[str, str], *, now: datetime) -> dict[str, int]:
    """Link learners to the customer, by learner key and address; return the pk of each key's link.

    Their accounts get the role of a learner there. Call it inside a transaction. Existing links are locked: a
    link that an erasure is deleting is waited for, and made again. Idempotent.
    """
    links = dict(_links.read(customer=customer.pk, keys=list(addresses)))
    model = LearnerLink(customer=customer, created=now)
    made = [
        inserts.unsaved_copy(model, learner_key=key, mailbox_key=key, learner_email=addresses[key])
        # In the same order in every request, so that two for the same learners do not deadlock.
        for key in sorted(addresses.keys() - links.keys())
    ]
    unique = ("customer", "learner_key")
    inserts.insert_all(made, size=ROWS_PER_STATEMENT, unique=unique, update=["mailbox_key"])
    links |= {one.learner_key: one.pk for one in made if one.pk}
    if unnamed := addresses.keys() - links.keys():  # MySQL returns no keys of many inserted rows
        links |= dict(_links.read(customer=customer.pk, keys=unnamed))
    grants = [RoleGrant(user_id=pk, role=Role.LEARNER, customer=customer) for pk in accounts(addresses)]
    for grant in grants:
        grant.set_scope()
    inserts.insert_all(grants, size=ROWS_PER_STATEMENT, unique=["user", "role", "scope"])
    return links


@PreparedSelect
def _links() -> QuerySet[LearnerLink, Any]:
    """Return the links of these keys to a customer, locked."""
    field = LearnerLink._meta.get_field
    customer, keys = Parameter("customer", field("customer")), Parameter("keys", field("learner_key"))
    known = LearnerLink.objects.filter(customer=customer, learner_key__in=keys)
    return for_update(known).order_by("pk").values_list("learner_key", "pk")


def reference(link: int) -> str:
    """Return the reference by which an action names the link that it made."""
    return f"link:{link}"


def learns_at(customer: str) -> Q:
    """Return the condition that a row's `lms_user_id` or `learner_key` is a learner's of its customer.

    `customer` is the name of the row's field. The learner has the role there, or a link of the address. A
    customer does not see LMS user ids of other learners.
    """
    role = RoleGrant.objects.filter(role=Role.LEARNER, user__lms_user_id=OuterRef("lms_user_id"))
    link = LearnerLink.objects
    here = Q(customer=OuterRef(customer))
    # One subquery for each key, because each key has an index of its own. For an OR of both, a database with
    # old statistics of a grown table reads all links of the customer for each row.
    links = [link.filter(here, **{key: OuterRef(key)}) for key in ("learner_key", "mailbox_key")]
    return Q(Exists(role.filter(here))) | Q(Exists(links[0])) | Q(Exists(links[1]))


def accounts_of(learner_keys: Iterable[str]) -> QuerySet[User]:
    """Return the accounts that have, or had, an address with one of these keys."""
    keys = list(learner_keys)
    other = AccountAddress.objects.filter(learner_key__in=keys)
    return User.objects.filter(of_mailboxes(keys) | Q(pk__in=list(other.values_list("user", flat=True))))


def same_person(key: str, *, lms_user_id: int | None) -> Q:
    """Return the condition that a row is of the person with this learner key or LMS user id.

    It has every address and id of the accounts with that key or id. Three queries.
    """
    by_id = User.objects.filter(lms_user_id=lms_user_id) if lms_user_id is not None else User.objects.none()
    keys, ids = {key}, {lms_user_id}
    for user in (accounts_of([key]) | by_id).prefetch_related("other_addresses"):
        keys |= {
            user.mailbox_key or user.learner_key,
            *(one.learner_key for one in user.other_addresses.all()),
        }
        ids.add(user.lms_user_id)
    return of_mailboxes(keys - {""}) | Q(lms_user_id__in=ids - {None})
