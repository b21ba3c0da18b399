"""Mail providers' reports: each is recorded on the timeline of its mail once, and its consequences written.

A report may arrive twice, late, or before an earlier one. Mail and kind identify it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext, override

from bursary.access import suppressions
from bursary.access.models import SuppressionReason, learner_key
from bursary.assignments import actions, administrator_notices
from bursary.assignments.choices import ActionType, ErrorReason, NoticeReason, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import Failed, Failure
from bursary.lib.locks import for_update
from bursary.lib.retries import repeated_after_deadlocks

PROVIDER_REF_VALID_FOR = timedelta(days=30)
"""How long after sending a mail is found by its `provider_ref`."""
ARRIVAL_FACTS = (ActionType.DELIVERED, ActionType.COMPLAINED)


@dataclass(frozen=True)
class MailReport:
    """What a provider reports of one mail, without the address.

    `mail` is the action's uuid, if the provider gives it back, else `provider_ref` its name for the mail.
    `permanent` is whether a mail that bounced would do so again, because of its address. `code` is the mail
    server's, such as 550 5.1.1.
    """

    fact: ActionType
    at: datetime
    mail: UUID | None = None
    provider_ref: str = ""
    permanent: bool = False
    code: str = ""


class MailUnknown(Exception):
    """No mail to a learner is meant, or its learner was erased. Nothing was changed."""


class MailBusy(Exception):
    """The mail is being sent, or just was: apply the report later. Nothing was changed."""


@repeated_after_deadlocks
def apply(report: MailReport, *, now: datetime) -> bool:
    """Write a report on the timeline of its mail; return whether it is new. Raises MailUnknown, MailBusy."""
    mails = LearnerContentAssignmentAction.objects.only("pk", "assignment")
    if report.mail:
        found = mails.filter(uuid=report.mail).first()
    else:
        done = Q(status=Status.DONE, completed_at__gte=now - PROVIDER_REF_VALID_FOR)
        found = mails.filter(done, provider_ref=report.provider_ref).first() if report.provider_ref else None
    if found is None:
        raise MailUnknown
    with transaction.atomic():
        assignments = for_update(LearnerContentAssignment.objects.all())
        assignment = assignments.select_related(None).get(pk=found.assignment_id)
        mail = for_update(LearnerContentAssignmentAction.objects.all()).get(pk=found.pk)
        mail.assignment = assignment
        if assignment.forgotten_at or not mail.recipient:
            raise MailUnknown
        if mail.status == Status.RUNNING:
            raise MailBusy
        key = _dedup_key(mail, permanent=report.permanent)
        this_cycle = LearnerContentAssignmentAction.objects.filter(assignment=assignment, cycle=mail.cycle)
        if this_cycle.filter(action_type=report.fact, dedup_key=key).exists():
            return False
        with override(settings.LANGUAGE_CODE):  # kept, for all readers
            detail = _detail(report)
        actions.record([assignment], report.fact, now=now, dedup_key=key, detail=detail, cycle=mail.cycle)
        _follow(report, mail, now=now, detail=detail)
    return True


def arrived(mail: LearnerContentAssignmentAction) -> bool:
    """Return whether the provider reported that the mail arrived: it is not sent again."""
    rows = LearnerContentAssignmentAction.objects.filter(assignment=mail.assignment_id, cycle=mail.cycle)
    return rows.filter(action_type__in=ARRIVAL_FACTS, dedup_key=_dedup_key(mail)).exists()


def _dedup_key(mail: LearnerContentAssignmentAction, *, permanent: bool = False) -> str:
    return f"{'final' if permanent else 'report'}-{mail.uuid}"


def _detail(report: MailReport) -> str:
    if report.fact == ActionType.BOUNCED and report.permanent:
        sentence = gettext("The mail server of the address refused it for good.")
    elif report.fact == ActionType.BOUNCED:
        sentence = gettext("The mail server of the address did not take it; the provider has given up.")
    elif report.fact == ActionType.COMPLAINED:
        sentence = gettext("The learner's mail provider reported it as unwanted.")
    else:
        return ""
    return f"{sentence} {report.code}".strip()


def _follow(report: MailReport, mail: LearnerContentAssignmentAction, *, now: datetime, detail: str) -> None:
    """Write what follows from a report that is new, for the customer of its mail and no other."""
    assignment, at = mail.assignment, min(report.at, now)
    customer, address = assignment.budget.customer_id, mail.recipient
    if report.fact == ActionType.DELIVERED:
        suppressions.end(customer, address, reasons=[SuppressionReason.BOUNCED], before=at)
    elif report.fact == ActionType.COMPLAINED:
        suppressions.add(customer, address, reason=SuppressionReason.COMPLAINED, since=at)
        administrator_notices.write_for_address(assignment, NoticeReason.MAIL_UNWANTED, now=now)
    elif report.permanent:
        if not _has_taken_mail(address, customer_pk=customer, since=at):
            suppressions.add(customer, address, reason=SuppressionReason.BOUNCED, since=at)
        administrator_notices.write_for_address(assignment, NoticeReason.ADDRESS_BOUNCED, now=now)
        repeated = LearnerContentAssignmentAction.objects.filter(retry_of=mail).exists()
        current = address == assignment.learner_email and actions.still_applies(mail)
        if mail.status == Status.DONE and current and not repeated:
            # The mail failed after all. It is repaired like others, by another address or a retry.
            failure = Failure(ErrorReason.EMAIL_ERROR, "address_rejected", detail, "")
            actions.add_outcome([mail], Failed(failure), now=now)


def _has_taken_mail(address: str, *, customer_pk: int, since: datetime) -> bool:
    """Return whether a mail that the customer sent there after `since` is reported as delivered."""
    key = learner_key(address)
    rows = LearnerContentAssignmentAction.objects.filter(
        assignment__learner_key=key, assignment__budget__customer=customer_pk
    ).order_by()
    sent = rows.filter(status=Status.DONE, completed_at__gt=since).exclude(recipient="")
    later = sent.only("uuid", "recipient")
    keys = [_dedup_key(mail) for mail in later if learner_key(mail.recipient) == key]
    return rows.filter(action_type=ActionType.DELIVERED, dedup_key__in=keys).exists()
