"""The accounts of known learners: by every address of theirs, and whether a customer may know them."""

from collections.abc import Iterable, Sequence

from django.db.models import Exists, OuterRef, Q, QuerySet, Value

from bursary.access.models import AccountAddress, LearnerLink, Role, RoleGrant, User, of_mailboxes
from bursary.lib.batches import chunks

KEYS_PER_QUERY = 5000


def lms_user_ids(learner_keys: Sequence[str]) -> dict[str, int]:
    """Return the LMS user id of each learner key that has an account, or had one before."""
    known: dict[str, int] = {}
    for chunk in chunks(learner_keys, KEYS_PER_QUERY):
        present = User.objects.filter(of_mailboxes(chunk), lms_user_id__isnull=False)
        other = AccountAddress.objects.filter(learner_key__in=chunk, user__lms_user_id__isnull=False)
        rows = present.values_list("mailbox_key", "learner_key", "lms_user_id", "pk").union(
            other.values_list("learner_key", "learner_key", "user__lms_user_id", Value(0)), all=True
        )
        # A present address counts before another; of several accounts of one mailbox, the oldest.
        for mailbox_key, older_key, lms_user_id, _pk in sorted(rows, key=lambda row: (row[3] > 0, -row[3])):
            known[mailbox_key or older_key] = lms_user_id or 0
    return known


def learns_at(customer: str) -> Q:
    """Return a condition on rows with `lms_user_id` and `learner_key`: a learner of the field `customer`.

    By their role, or by a link of their address. Others' ids are not shown to that customer.
    """
    role = RoleGrant.objects.filter(role=Role.LEARNER, user__lms_user_id=OuterRef("lms_user_id"))
    mailbox = Q(mailbox_key=OuterRef("mailbox_key")) | Q(learner_key=OuterRef("learner_key"))
    link = LearnerLink.objects.filter(mailbox)
    here = Q(customer=OuterRef(customer))
    return Exists(role.filter(here)) | Exists(link.filter(here))


def other_keys(learner_keys: Sequence[str]) -> dict[str, list[str]]:
    """Return, of each learner key of an account with several addresses, the keys of the others."""
    keys_of: dict[int, set[str]] = {}
    for chunk in chunks(learner_keys, KEYS_PER_QUERY):
        here = Q(learner_key__in=chunk) | Q(user__mailbox_key__in=chunk) | Q(user__learner_key__in=chunk)
        accounts = AccountAddress.objects.filter(here).values("user")
        rows = AccountAddress.objects.filter(user__in=accounts)
        for user, *keys in rows.values_list("user", "learner_key", "user__mailbox_key", "user__learner_key"):
            keys_of.setdefault(user, set()).update(key for key in keys if key)
    return {key: sorted(keys - {key}) for keys in keys_of.values() for key in keys}


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
