"""Mails that are not sent: the provider reported the address, or the learner has unsubscribed."""

from collections.abc import Collection, Mapping

from bursary.access import suppressions
from bursary.access.models import SuppressionReason
from bursary.assignments import mail_reports
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.assignments.outcomes import Done, Skipped
from bursary.delivery.errors import address_rejected

UNSUBSCRIBABLE = (ActionType.REMINDED, ActionType.NUDGED)
"""Mails that a learner can unsubscribe from."""
_AUTOMATIC = (*UNSUBSCRIBABLE, ActionType.EXPIRATION_NOTIFIED)
_REPORTED: Mapping[SuppressionReason, Skipped] = {
    SuppressionReason.BOUNCED: Skipped("address_refused", "Its server refused an earlier mail for good."),
    SuppressionReason.COMPLAINED: Skipped(
        "mail_unwanted", "The learner reported an earlier mail as unwanted."
    ),
}
"""How automatic mails end, by the first of `suppressions.BY_REPORT` that the address has."""
_BY_LEARNER = "link-"
_BY_ADMINISTRATOR = "asked-"
"""The beginning of the dedup key of a requested mail: a new link, or a reminder."""


def outcome_if_not_sent(
    action: LearnerContentAssignmentAction, *, reasons: Collection[SuppressionReason]
) -> Done | Skipped | None:
    """Return the outcome of a mail that must not be sent, by its address's suppressions; else None.

    An administrator's retry or reminder reopens an address. Raises DeliveryError where an attempt that failed
    is not to be repeated: something of its address was reported since the mail was requested.
    """
    if action.attempts > 1 and mail_reports.arrived(action):
        return Done(provider_ref=action.provider_ref)  # its answer was lost
    customer = action.assignment.budget.customer_id
    if not reasons or action.dedup_key.startswith(_BY_LEARNER):
        return None
    if SuppressionReason.UNSUBSCRIBED in reasons and action.action_type in UNSUBSCRIBABLE:
        return Skipped("unsubscribed", "The learner has unsubscribed from reminders.")
    reported = [one for one in suppressions.BY_REPORT if one in reasons]
    if not reported:
        return None
    if action.attempts > 1 and suppressions.is_reported_since(
        customer, action.recipient, since=action.created
    ):
        raise address_rejected("The mail provider reported that the address takes no such mail.")
    # An administrator asked for this mail, after what was reported.
    if action.retry_of_id is not None or action.dedup_key.startswith(_BY_ADMINISTRATOR):
        suppressions.end(customer, action.recipient, reasons=suppressions.BY_REPORT)
        return None
    return _REPORTED[reported[0]] if action.action_type in _AUTOMATIC else None
