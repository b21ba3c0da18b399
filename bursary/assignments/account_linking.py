"""Linking assignments, made by e-mail address, to users registered with that address later.

Two assignments of the same content may then turn out to be one learner's. One is kept: an accepted one
before an open one, the older of two open ones. The other, if open, is cancelled with the reason on its
timeline and without a mail, because the learner still has the course. An account without an LMS user id
has nothing to be linked by; its assignments are found by its addresses.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import chain

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import translation
from django.utils.translation import gettext

from bursary.access.models import AccountAddress, User
from bursary.assignments import actions, lifecycle, sweeps
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.sweeps import SweepResult
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.lib import logs
from bursary.lib.batches import chunks, keyset_pages
from bursary.lib.locks import for_update
from bursary.lib.retries import repeated_after_deadlocks

logger = logging.getLogger(__name__)

USERS_PER_PASS = 20_000
USERS_PER_PAGE = 500
ASSIGNMENTS_PER_USER = 1000
MAX_FAILURES = 50  # a pass
_PREFERRED = (State.ACCEPTED, State.ALLOCATED)


_Found = Iterator[tuple[int, LearnerContentAssignment, Callable[[], bool]]]
"""Users (pks) and assignments, each with what is to be tried for them."""


def link_registered_users(*, now: datetime) -> SweepResult:
    """Link open and accepted assignments by e-mail address to users that have registered, or changed, since.

    Only marked users are read (`User.linking_passes_left`), each in several passes: a request that did not
    see the new user may commit later. Assignments being redeemed are left to a later pass; two accepted ones
    of the same content both stay. A failing assignment is skipped, named in `failed` by its uuid, and retried
    on the next pass. After `MAX_FAILURES` the pass stops: the cause is then probably not in the data.
    """
    result = SweepResult()
    # Those that were read least often come first.
    marked = (
        User.objects.filter(linking_passes_left__gte=1)
        .order_by("-linking_passes_left")
        .values_list("pk", flat=True)
    )
    for page in chunks(list(marked[:USERS_PER_PASS]), USERS_PER_PAGE):
        failed = _link_all(page, result, now=now)
        _count_pass(set(page) - failed)
        if len(result.failed) == MAX_FAILURES:
            break
    return result


def link_all_users(*, now: datetime) -> SweepResult:
    """Link like `link_registered_users`, but read every user, in case one was not marked."""
    result = SweepResult()
    for page in keyset_pages(User.objects.values_list("pk", flat=True), size=USERS_PER_PAGE):
        _link_all(page, result, now=now)
        if len(result.failed) == MAX_FAILURES:
            break
    return result


def _link_all(users: Sequence[int], result: SweepResult, *, now: datetime) -> set[int]:
    """Link the assignments of these users (pks); return the users of those that failed."""
    failed: set[int] = set()
    for user, found, attempt in chain(_to_link(users, now), _assigned_twice(users, now)):
        try:
            result.done += attempt()
        except sweeps.RECOVERABLE as failure:
            what = f"Linking failed: assignment={found.uuid}"
            result.failed[str(found.uuid)] = logs.log_failure(what, failure, log=logger)
            failed.add(user)
            if len(result.failed) == MAX_FAILURES:
                return set(users)
    return failed


def _count_pass(users: Collection[int]) -> None:
    """Lower `linking_passes_left` of these users (pks), unless an assignment of theirs is being redeemed."""
    redeemed = LearnerContentAssignment.objects.filter(redeeming_since__isnull=False)
    others = AccountAddress.objects.filter(user=OuterRef(OuterRef("pk"))).values("learner_key")
    waits = (
        Exists(redeemed.filter(mailbox_key=OuterRef("mailbox_key")))
        | Exists(redeemed.filter(lms_user_id=OuterRef("lms_user_id")))
        | Exists(redeemed.filter(mailbox_key__in=others))
    )
    seen = list(User.objects.filter(~waits, pk__in=users).order_by().values_list("pk", flat=True))
    User.objects.filter(pk__in=seen, linking_passes_left=1).update(linking_passes_left=None)
    User.objects.filter(pk__in=seen, linking_passes_left__gt=1).update(
        linking_passes_left=F("linking_passes_left") - 1
    )


def _to_link(users: Sequence[int], now: datetime) -> _Found:
    of_user = _unlinked(lms_user_id=OuterRef(OuterRef("lms_user_id")))
    # By the newer key alone: a hash join. What is not re-keyed yet is found once it is.
    of_user = of_user.filter(mailbox_key=OuterRef("mailbox_key"))
    registered = User.objects.filter(Exists(of_user), pk__in=users, lms_user_id__isnull=False)
    registered = registered.exclude(mailbox_key="")
    by_other = _unlinked(lms_user_id=OuterRef(OuterRef("user__lms_user_id")))
    by_other = by_other.filter(mailbox_key=OuterRef("learner_key"))
    other = AccountAddress.objects.filter(Exists(by_other), user__in=users, user__lms_user_id__isnull=False)
    present = registered.order_by("pk").values_list("pk", "lms_user_id", "mailbox_key")
    earlier = other.order_by("pk").values_list("user", "user__lms_user_id", "learner_key")
    for user_pk, lms_user_id, key in [*present, *earlier]:
        unlinked = _unlinked(lms_user_id=lms_user_id).filter(mailbox_key=key).order_by("pk")
        # What never changes of them: the rest is read under the locks.
        for found in list(unlinked.only("uuid", "budget", "content_key")[:ASSIGNMENTS_PER_USER]):
            yield user_pk, found, partial(_link, found, user_pk, now=now)


def _assigned_twice(users: Sequence[int], now: datetime) -> _Found:
    """Yield assignments of the same content by several addresses of an account without an LMS user id."""
    several = User.objects.filter(
        Exists(AccountAddress.objects.filter(user=OuterRef("pk"))), pk__in=users, lms_user_id=None
    )
    user_of: dict[str, int] = {key: pk for pk, key in several.values_list("pk", "mailbox_key") if key}
    other = AccountAddress.objects.filter(user__in=several.values("pk"))
    user_of |= dict(other.values_list("learner_key", "user"))
    free = LearnerContentAssignment.objects.filter(
        state__in=_PREFERRED, redeeming_since=None, forgotten_at=None, mailbox_key__in=user_of
    )
    alike: dict[tuple[int, int, str], list[LearnerContentAssignment]] = defaultdict(list)
    for row in free.order_by("pk").only("uuid", "budget", "content_key", "mailbox_key", "state"):
        alike[user_of[row.mailbox_or_learner_key], row.budget_id, row.content_key].append(row)
    for (user_pk, _budget, _content), (found, *others) in alike.items():
        if others and any(one.state == State.ALLOCATED for one in (found, *others)):
            yield user_pk, found, partial(_keep_one, found, user_pk, now=now)


def _unlinked(*, lms_user_id: int | OuterRef | None) -> QuerySet[LearnerContentAssignment]:
    """Return assignments that can be linked now, without those that every pass would find and leave."""
    same_content = LearnerContentAssignment.objects.filter(
        budget=OuterRef("budget"), content_key=OuterRef("content_key"), lms_user_id=lms_user_id
    )
    free = LearnerContentAssignment.objects.filter(
        lms_user_id=None, state__in=_PREFERRED, redeeming_since=None, forgotten_at=None
    )
    return free.exclude(Exists(same_content.filter(redeeming_since__isnull=False))).exclude(
        Q(state=State.ACCEPTED) & Exists(same_content.filter(state=State.ACCEPTED))
    )


@repeated_after_deadlocks
def _link(found: LearnerContentAssignment, user_pk: int, *, now: datetime) -> bool:
    with transaction.atomic():
        budget = ledger.lock(found.budget_id)  # so that no allocation changes either of the two
        user = User.objects.filter(pk=user_pk, lms_user_id__isnull=False).first()
        if user is None:
            return False
        either = Q(pk=found.pk) | Q(content_key=found.content_key, lms_user_id=user.lms_user_id)
        rows = LearnerContentAssignment.objects.filter(either, budget=found.budget_id)
        both = list(for_update(rows).order_by("pk"))
        newcomer = next((one for one in both if one.pk == found.pk), None)
        if newcomer is None or newcomer.lms_user_id is not None or newcomer.forgotten_at:
            return False
        same_address = newcomer.mailbox_key in user.learner_keys
        redeeming = any(one.redeeming_since for one in both)
        both_accepted = len(both) > 1 and all(one.state == State.ACCEPTED for one in both)
        if not same_address or newcomer.state not in _PREFERRED or redeeming or both_accepted:
            return False
        kept, *others = preferred_first(both)
        for other in others:
            LearnerContentAssignment.objects.filter(pk=other.pk).update(lms_user_id=None, modified=now)
            cancel_duplicate_row(other, budget=budget, kept=kept, now=now)
        LearnerContentAssignment.objects.filter(pk=kept.pk).update(lms_user_id=user.lms_user_id, modified=now)
    return True


@repeated_after_deadlocks
def _keep_one(found: LearnerContentAssignment, user_pk: int, *, now: datetime) -> bool:
    with transaction.atomic():
        budget = ledger.lock(found.budget_id)
        user = User.objects.filter(pk=user_pk, lms_user_id=None).first()
        rows = LearnerContentAssignment.objects.filter(
            mailbox_key__in=user.learner_keys if user else [],
            budget=found.budget_id,
            content_key=found.content_key,
            state__in=_PREFERRED,
            forgotten_at=None,
        )
        alike = preferred_first(list(for_update(rows).order_by("pk")))
        giving_way = [one for one in alike[1:] if one.state == State.ALLOCATED]
        if any(one.redeeming_since for one in alike):
            return False
        for other in giving_way:
            cancel_duplicate_row(other, budget=budget, kept=alike[0], now=now)
    return bool(giving_way)


def preferred_first(assignments: Sequence[LearnerContentAssignment]) -> list[LearnerContentAssignment]:
    """Return one learner's assignments of the same content, the one to keep first."""
    rank = {state: number for number, state in enumerate(_PREFERRED)}
    return sorted(
        assignments, key=lambda one: (rank.get(State(one.state), len(rank)), one.allocated_at, one.pk)
    )


def cancel_duplicate_row(
    other: LearnerContentAssignment, *, budget: Budget, kept: LearnerContentAssignment, now: datetime
) -> None:
    """Cancel an assignment, if open, because the learner has the same content by the one that is kept.

    The budget and the assignment are locked. Money is released, and no mail is sent.
    """
    if other.state == State.ALLOCATED:
        with translation.override(settings.LANGUAGE_CODE):  # kept on the timeline, for all its readers
            why = gettext("The learner has the same course by assignment %(uuid)s.") % {"uuid": kept.uuid}
        lifecycle.move(budget, [other], ActionType.CANCELLED, now=now, detail=why)
        notice = [ActionType.CANCELLATION_NOTIFIED]
        actions.supersede([other.pk], notice, now=now, error_code="assigned_twice")
