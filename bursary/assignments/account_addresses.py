"""Adding the address of a mail's link to the account of a signed-in learner that opens the link."""

from datetime import datetime
from typing import ClassVar

from django.db import transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from bursary.access import known_learners
from bursary.access.models import (
    LINKING_PASSES,
    AccountAddress,
    LearnerLink,
    Role,
    RoleGrant,
    User,
    of_mailboxes,
)
from bursary.assignments import actions, redemption, signed_links
from bursary.assignments.models import LearnerContentAssignment
from bursary.lib import moments
from bursary.lib.retries import repeated_after_deadlocks


class CannotAdd(Exception):
    """The address cannot be added to the account. Nothing was changed. Each kind has its sentence."""

    reason: ClassVar[str]
    sentence: ClassVar[str | Promise]
    next_step: ClassVar[str | Promise]

    def __str__(self) -> str:
        return str(self.sentence)


class AddressOfAnotherAccount(CannotAdd):
    """The address belongs to another account."""

    reason = "address_of_another_account"
    sentence = _("This address belongs to another account.")
    next_step = _("Sign in with that account, or ask your organisation.")


class AccountWithoutAddress(CannotAdd):
    """The account has no address of its own, to which another could be added."""

    reason = "account_without_address"
    sentence = _("Your account has no e-mail address, so that no other can be added to it.")
    next_step = _("Answer by the link in the mail, or ask your organisation to give your account an address.")


def can_add(assignment: LearnerContentAssignment, *, user: User) -> bool:
    """Return whether the assignment's address may be added to the account, and is not yet its own."""
    own = redemption.of_learner(lms_user_id=user.lms_user_id, learner_key=user.learner_key)
    if not user.learner_key or own.filter(pk=assignment.pk).exists():
        return False
    has_account = assignment.lms_user_id is not None
    return not (has_account or known_learners.accounts_of([assignment.mailbox_or_learner_key]).exists())


@repeated_after_deadlocks
def add(token: str, *, user: User, now: datetime) -> LearnerContentAssignment:
    """Add the address of a signed link to the account; return the link's assignment. Safe to repeat.

    The account then has all assignments of the address; of two of the same content one is kept, as after a
    registration. Raises links.LinkRefused, AddressOfAnotherAccount, AccountWithoutAddress.
    """
    with transaction.atomic():
        assignment = signed_links.opened_and_locked(token, now=now)
        own = redemption.of_learner(lms_user_id=user.lms_user_id, learner_key=user.learner_key)
        if own.filter(pk=assignment.pk).exists():
            return assignment
        if not user.learner_key:
            raise AccountWithoutAddress
        if not can_add(assignment, user=user):
            raise AddressOfAnotherAccount
        key = assignment.mailbox_or_learner_key
        kept, _new = AccountAddress.objects.get_or_create(
            learner_key=key, defaults={"user": user, "address": assignment.learner_email}
        )
        if kept.user_id != user.pk:
            raise AddressOfAnotherAccount
        User.objects.filter(pk=user.pk).update(linking_passes_left=LINKING_PASSES)
        for link in LearnerLink.objects.filter(of_mailboxes([key])):
            RoleGrant.objects.get_or_create(user=user, role=Role.LEARNER, customer_id=link.customer_id)
        at = moments.in_words(now, zone=assignment.budget.customer.zone)
        actions.add_to_detail(assignment, f"The learner added its address to an account on {at}.", now=now)
    return assignment
