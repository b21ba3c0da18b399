"""The keys of the addresses in rows that an earlier release wrote: users, links and assignments.

That release compares addresses by another rule, and still writes rows during an upgrade. So the key has a
column of its own, and each run finds the rows without it, and those that were changed since. If two
assignments turn out to be one learner's, one is kept, as after a registration. See decision 0011.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TypeVar

from django.db import models
from django.db.models import F, Q

from bursary.access import known_learners
from bursary.access.models import LINKING_PASSES, LearnerLink, User, learner_key
from bursary.assignments import account_linking, sweeps
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.lib import logs
from bursary.lib.batches import keyset_pages
from bursary.lib.clock import Clock
from bursary.lib.locks import for_update
from bursary.lib.retries import in_transaction

logger = logging.getLogger(__name__)

BATCH = 500

T = TypeVar("T")


@dataclass
class RekeyResult:
    """The numbers of rows that a run gave a key. `failed` has the error of each batch that it left alone."""

    users: int = 0
    links: int = 0
    assignments: int = 0
    left: int = 0
    """Assignments for the next run: they, or the learner's others of the same content, are being redeemed."""
    failed: dict[str, str] = field(default_factory=dict)


def rekey(*, clock: Clock) -> RekeyResult:
    """Give every row its key, a transaction a batch, which is repeated after deadlocks.

    An interrupted run is continued by the next one. Users come first, then links, then assignments, for
    which both are looked up.
    """
    result = RekeyResult()

    def attempt(batch: Callable[[], T], name: str, *, otherwise: T) -> T:
        clock()  # renews the lease of the task
        try:
            return in_transaction(batch)
        except sweeps.RECOVERABLE as failure:
            result.failed[name] = logs.log_failure(f"Re-keying failed: {name}", failure, log=logger)
            return otherwise

    for pks in _suspects(User):
        result.users += attempt(partial(_rekey_users, pks), f"users from {pks[0]}", otherwise=0)
    for pks in _suspects(LearnerLink):
        result.links += attempt(partial(_rekey_links, pks), f"links from {pks[0]}", otherwise=0)
    for pks in _suspects(LearnerContentAssignment):
        rows = LearnerContentAssignment.objects.filter(pk__in=pks).order_by("budget")
        for budget, uuid in rows.values_list("budget", "budget__uuid").distinct():
            batch = partial(_rekey_assignments, budget, pks, now=clock())
            name = f"assignments from {pks[0]} in budget {uuid}"
            rekeyed, left = attempt(batch, name, otherwise=(0, 0))
            result.assignments += rekeyed
            result.left += left
    return result


def _suspects(model: type[models.Model]) -> Iterator[list[int]]:
    """Yield the pks of rows without a key, or with another than the older one, in pages.

    The keys differ for an address that the two rules compare differently, and where the earlier release has
    changed a row that had its key.
    """
    rows = model._default_manager.filter(Q(mailbox_key=None) | ~Q(mailbox_key=F("learner_key")))
    return keyset_pages(rows.values_list("pk", flat=True), size=BATCH)


def _rekey_users(pks: Sequence[int]) -> int:
    users = list(for_update(User.objects.filter(pk__in=pks)).order_by("pk"))
    for user in users:
        user.learner_key = user.mailbox_key = learner_key(user.email) if user.email else ""
        user.linking_passes_left = LINKING_PASSES
    return User.objects.bulk_update(users, ["learner_key", "mailbox_key", "linking_passes_left"])


def _rekey_links(pks: Sequence[int]) -> int:
    """Give links their key. Of two links of a mailbox with a customer, the one that has its key stays."""
    links = list(for_update(LearnerLink.objects.filter(pk__in=pks)).order_by("pk"))
    keys = {link.pk: learner_key(link.learner_email) for link in links}
    holders = LearnerLink.objects.filter(learner_key__in=keys.values())
    kept = {(customer, key): pk for pk, customer, key in holders.values_list("pk", "customer", "learner_key")}
    for link in links:
        link.learner_key = link.mailbox_key = keys[link.pk]
    rekeyed = [
        link for link in links if kept.setdefault((link.customer_id, link.learner_key), link.pk) == link.pk
    ]
    LearnerLink.objects.filter(pk__in={link.pk for link in links} - {link.pk for link in rekeyed}).delete()
    LearnerLink.objects.bulk_update(rekeyed, ["learner_key", "mailbox_key"])
    return len(links)


def _rekey_assignments(budget_pk: int, pks: Sequence[int], *, now: datetime) -> tuple[int, int]:
    """Give a budget's assignments their key, and keep one open for a learner.

    Return the number of those that got a key, and of those left for the next run.
    """
    budget = ledger.lock(budget_pk)  # so that no allocation creates another meanwhile
    here = LearnerContentAssignment.objects.filter(budget=budget_pk).order_by("pk")
    keys = {row.pk: learner_key(row.learner_email) for row in for_update(here.filter(pk__in=pks))}
    rows = for_update(here.filter(Q(pk__in=keys) | Q(mailbox_key__in=keys.values())))
    of_one_learner: dict[tuple[str, str], list[LearnerContentAssignment]] = defaultdict(list)
    for row in rows:
        of_one_learner[row.content_key, keys.get(row.pk) or row.mailbox_or_learner_key].append(row)
    alike, rekeyed, left = [], 0, 0
    for (_content, key), group in of_one_learner.items():
        new = [row for row in group if row.pk in keys and row.mailbox_key != key]
        if new and any(row.redeeming_since for row in group if len(group) > 1):
            left += len(new)
            continue
        rekeyed += len(new)
        if len(group) == 1 and new and new[0].learner_key == key:
            alike.append(new[0].pk)
        elif new:
            _rekey_one_learner(budget, group, key=key, now=now)
    here.filter(pk__in=alike).update(mailbox_key=F("learner_key"), duplicate_pk=0)
    accounts = known_learners.accounts_of(keys.values()).order_by().values_list("pk", flat=True)
    User.objects.filter(pk__in=list(accounts)).update(linking_passes_left=LINKING_PASSES)
    return rekeyed, left


def _rekey_one_learner(
    budget: Budget, group: Sequence[LearnerContentAssignment], *, key: str, now: datetime
) -> None:
    """Write the key of one learner's assignments of the same content; cancel all open ones but one.

    The one that is kept has the LMS user id; the others are duplicate rows.
    """
    kept, *others = account_linking.preferred_first(group)
    lms_user_id = kept.lms_user_id
    for other in others:
        account_linking.cancel_duplicate_row(other, budget=budget, kept=kept, now=now)
        own = other.lms_user_id
        if lms_user_id is None and other.state != State.ACCEPTED:
            lms_user_id, own = own, None
        LearnerContentAssignment.objects.filter(pk=other.pk).update(
            mailbox_key=key, duplicate_pk=other.pk, lms_user_id=own
        )
    LearnerContentAssignment.objects.filter(pk=kept.pk).update(
        mailbox_key=key, duplicate_pk=0, lms_user_id=lms_user_id
    )
