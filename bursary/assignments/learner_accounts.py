"""Assignments of learners with a deactivated or deleted account: not mailed, and shown as such."""

from django.db import models
from django.db.models import Case, Exists, OuterRef, Q, Value, When

from bursary.access.models import AccountAddress, User
from bursary.assignments.models import LearnerContentAssignment


class AccountEnded(models.TextChoices):
    """Why an assignment's learner no longer has an account. Empty: there is one, or never was one."""

    DEACTIVATED = "deactivated"
    """The account cannot sign in any more."""
    DELETED = "deleted"
    """No account has the LMS user id that the assignment knows."""


def ended_column() -> Case:
    """Return `account_ended` as SQL, '' in place of None. An active account counts first."""
    return Case(
        When(_account(is_active=True), then=Value("")),
        When(_account(is_active=False), then=Value(AccountEnded.DEACTIVATED)),
        When(lms_user_id__isnull=False, then=Value(AccountEnded.DELETED)),
        default=Value(""),
        output_field=models.CharField(),
    )


def account_ended(assignment: LearnerContentAssignment) -> AccountEnded | None:
    """Return why the assignment's learner is not mailed, or None. One query, unless it is annotated."""
    why = getattr(assignment, "account_ended", None)
    if why is None:
        rows = LearnerContentAssignment.objects.filter(pk=assignment.pk)
        why = rows.annotate(why=ended_column()).values_list("why", flat=True).first()
    return AccountEnded(why) if why else None


def _account(*, is_active: bool) -> Q:
    """Return the condition that there is such an account. Each way to it has an index of its own."""
    users = User.objects.filter(is_active=is_active)
    other = AccountAddress.objects.filter(user__is_active=is_active)
    return (
        Q(Exists(users.filter(mailbox_key=OuterRef("mailbox_key"))))
        | Q(Exists(users.filter(lms_user_id=OuterRef("lms_user_id"))))
        | Q(Exists(other.filter(learner_key=OuterRef("mailbox_key"))))
    )
