"""Known learners: their accounts by every address of theirs, and their links to customers.

A customer knows the learners that are linked to it, each by a row, and accounts that have the role there.
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
from bursary.lib.prepared import PreparedSelect, Slot

KEYS_PER_QUERY = 5000
ROWS_PER_STATEMENT = 2000


@dataclass(frozen=True)
class KnownLearner:
    """What the accounts of one address lead to."""

    lms_user_id: int | None = None
    other_keys: tuple[str, ...] = ()
    """The keys of their other addresses, in order."""


def by_keys(learner_keys: Sequence[str]) -> dict[str, KnownLearner]:
    """Return the learner of each of these keys, present or earlier ones of accounts. A query for 5,000 keys.

    Of several accounts, one that has the address at present gives the LMS user id before one that had it,
    the oldest first.
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
    """Return the accounts (pks), in order, that have, or had, an address with one of these keys."""
    found = (_accounts.read(keys=chunk) for chunk in chunks(list(learner_keys), KEYS_PER_QUERY))
    return sorted({pk for pk, *_keys in chain.from_iterable(found)})


def all_keys(learner_key: str) -> list[str]:
    """Return the keys of every address of the accounts with this one, which is the first; of none, none."""
    if not learner_key:
        return []
    return [learner_key, *by_keys([learner_key])[learner_key].other_keys]


@PreparedSelect
def _accounts() -> QuerySet[User, Any]:
    """Return the accounts with addresses of the slot `keys`: present ones, and those that had one."""
    keys = Slot("keys", AccountAddress._meta.get_field("learner_key"))
    earlier = AccountAddress.objects.filter(learner_key__in=keys).values("user")
    present, had = (
        User.objects.filter(condition)
        .order_by()
        .values_list("pk", "mailbox_key", "learner_key", "lms_user_id", "other_addresses__learner_key")
        for condition in (of_mailboxes(keys), Q(pk__in=earlier))
    )
    return present.union(had)


def link(customer: Customer, addresses: Mapping[str, str], *, now: datetime) -> dict[str, int]:
    """Link learners, an address by its learner key, to the customer; return the link (pk) of each key.

    Their accounts become learners of the customer.
    Call it inside a transaction. Links that exist are locked: one that an erasure is deleting is waited for,
    and made again. Safe to repeat.
    """
    links = dict(_links.read(customer=customer.pk, keys=list(addresses)))
    model = LearnerLink(customer=customer, created=now)
    made = [
        inserts.unsaved_copy(model, learner_key=key, mailbox_key=key, learner_email=addresses[key])
        # In one order everywhere: of two requests for the same learners, one waits for the other.
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
    """Return the links of learners with the keys of a slot to the customer of another, locked."""
    field = LearnerLink._meta.get_field
    customer, keys = Slot("customer", field("customer")), Slot("keys", field("learner_key"))
    known = LearnerLink.objects.filter(customer=customer, learner_key__in=keys)
    return for_update(known).order_by("pk").values_list("learner_key", "pk")


def reference(link: int) -> str:
    """Return the name of a link (pk) on the action that made it."""
    return f"link:{link}"


def learns_at(customer: str) -> Q:
    """Return a condition on rows with `lms_user_id` and `learner_key`: a learner of the field `customer`.

    By their role, or by a link of their address. Others' ids are not shown to that customer.
    """
    role = RoleGrant.objects.filter(role=Role.LEARNER, user__lms_user_id=OuterRef("lms_user_id"))
    link = LearnerLink.objects
    here = Q(customer=OuterRef(customer))
    # Each way to a link has an index of its own: a database that knows little of a table which has grown
    # reads all of a customer's links for a row rather than look into two of them.
    links = [link.filter(here, **{key: OuterRef(key)}) for key in ("learner_key", "mailbox_key")]
    return Q(Exists(role.filter(here))) | Q(Exists(links[0])) | Q(Exists(links[1]))


def accounts_of(learner_keys: Iterable[str]) -> QuerySet[User]:
    """Return the accounts that have, or had, an address with one of these keys."""
    keys = list(learner_keys)
    other = AccountAddress.objects.filter(learner_key__in=keys)
    return User.objects.filter(of_mailboxes(keys) | Q(pk__in=list(other.values_list("user", flat=True))))


def same_person(key: str, *, lms_user_id: int | None) -> Q:
    """Return a condition on rows of learners: the person with this learner key or LMS user id.

    By every address and id of the accounts that these lead to. Three queries.
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
