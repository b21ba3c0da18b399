"""Each error code as a sentence for administrators: why work failed or was not done, and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from bursary.assignments.choices import ActionType


@dataclass(frozen=True)
class ErrorText:
    """An error code as a sentence, and what to do: lazy texts, in the reader's language."""

    sentence: Any
    next_step: Any
    for_operators: Any = ""
    """What to do, where `next_step` asks an operator."""

    @property
    def clause(self) -> str:
        """The sentence as it follows a colon."""
        return within_sentence(self.sentence)

    @property
    def retried(self) -> bool:
        """Whether a retry is what it asks for, at once or after a repair."""
        return self.next_step in (_TRY_AGAIN, _ASK_OPERATOR)

    def next_step_of(self, *, operates: bool) -> str:
        """Return what to do, for an operator of the service or for an administrator."""
        return str((operates and self.for_operators) or self.next_step)


_TRY_AGAIN = _("Retry it.")
_ASK_OPERATOR = _("Ask the operator of this service, then retry it.")

ERROR_TEXTS: Mapping[str, ErrorText] = {
    "address_rejected": ErrorText(_("The address does not exist."), _("Correct the address.")),
    "mailbox_unavailable": ErrorText(_("The mailbox takes no mail at present."), _TRY_AGAIN),
    "message_refused": ErrorText(
        _("The mail server refused the message."),
        _ASK_OPERATOR,
        _("The timeline has the server's answer. Ask the server's operator about it, then retry it."),
    ),
    "message_invalid": ErrorText(
        _("The message could not be built."),
        _ASK_OPERATOR,
        _("The timeline says which part of it is invalid: change that in the settings, then retry it."),
    ),
    "mail_server_refuses_us": ErrorText(
        _("The mail server does not accept our mails."),
        _ASK_OPERATOR,
        _("Check the account and the sender in the settings against the server's answer, then retry it."),
    ),
    "sending_limit_reached": ErrorText(
        _("The mail provider's limit for sending is reached: mails go out later, and more slowly."),
        _TRY_AGAIN,
    ),
    "mail_server_busy": ErrorText(_("The mail server asks to come again later."), _TRY_AGAIN),
    "mail_folder_not_writable": ErrorText(
        _("The folder for mails is full, or cannot be written."),
        _ASK_OPERATOR,
        _("Free space on its disk, or let the service write to it, then retry it."),
    ),
    "answer_lost": ErrorText(_("The mail server did not confirm the mail: it may have arrived."), _TRY_AGAIN),
    "mail_server_unreachable": ErrorText(_("The mail server does not answer."), _TRY_AGAIN),
    "ledger_refused": ErrorText(_("The money could not be spent."), _("The learner can accept again.")),
    "unexpected_error": ErrorText(
        _("An unexpected error."),
        _ASK_OPERATOR,
        _("The stack trace on the timeline says where: mend that, then retry it."),
    ),
    "worker_died": ErrorText(
        _("The work was interrupted each time."),
        _ASK_OPERATOR,
        _("The service's log says why it ended then: mend that, then retry it."),
    ),
    "account_deactivated": ErrorText(
        _("The learner's account is deactivated: no mails are sent."), _("Cancel it to free the money.")
    ),
    "account_deleted": ErrorText(
        _("The learner's account was deleted: no mails are sent."), _("Cancel it to free the money.")
    ),
    "address_refused": ErrorText(
        _("The mail server of the address refused an earlier mail for good."), _("Correct the address.")
    ),
    "mail_unwanted": ErrorText(
        _("The learner reported an earlier mail as unwanted."), _("Ask the learner by another way.")
    ),
    "unsubscribed": ErrorText(_("The learner has unsubscribed from reminders."), ""),
    "deadline_passed": ErrorText(_("The deadline had passed."), _("Assign the course again.")),
    "budget_not_in_use": ErrorText(
        _("The budget is not in use."),
        _("Ask the operator of this service to change the budget."),
        _("Change the budget in the administration."),
    ),
    "start_unknown": ErrorText(_("The start of the course was not known any more."), ""),
    "started": ErrorText(_("The course had started."), ""),
    "never_notified": ErrorText(_("The learner had no mail about the assignment before."), ""),
    "skipped_on_request": ErrorText(_("An administrator decided so."), ""),
    "assigned_twice": ErrorText(_("The learner has the same course by another assignment."), ""),
    "forgotten": ErrorText(_("The learner's data was erased."), ""),
    "no_longer_wanted": ErrorText(_("The assignment had changed before its turn."), ""),
    ActionType.ALLOCATED: ErrorText(_("The course was assigned again before its turn."), ""),
    ActionType.REDEEMED: ErrorText(_("The learner had accepted the course."), ""),
    ActionType.CANCELLED: ErrorText(_("The assignment was cancelled before its turn."), ""),
    ActionType.DECLINED: ErrorText(_("The learner had declined the course."), ""),
    ActionType.EXPIRED: ErrorText(_("The assignment expired before its turn."), ""),
    ActionType.REVERSED: ErrorText(_("The money was refunded before its turn."), ""),
    ActionType.EMAIL_CORRECTED: ErrorText(_("The address was corrected meanwhile."), ""),
}
_OTHER = ErrorText(_("It failed."), _TRY_AGAIN)

WORK_IN_WORDS: Mapping[str, Any] = {
    ActionType.LEARNER_LINKED: _("Adding the learner"),
    ActionType.NOTIFIED: _("The invitation"),
    ActionType.REMINDED: _("A reminder"),
    ActionType.NUDGED: _("The mail before the start"),
    ActionType.REDEEMED: _("Accepting"),
    ActionType.CANCELLATION_NOTIFIED: _("The mail about the cancellation"),
    ActionType.EXPIRATION_NOTIFIED: _("The mail about the expiry"),
}
"""Work that can fail, as the subject of a sentence."""


def within_sentence(text: object) -> str:
    """Return a sentence, or work in words, as it stands within another sentence.

    Its first word is an article, a pronoun or a verb in every language, and has no capital there.
    """
    words = str(text)
    return words[:1].lower() + words[1:]


def for_code(error_code: str) -> ErrorText:
    """Return the text for an error code; for one that has none here, that it failed."""
    return ERROR_TEXTS.get(error_code, _OTHER)
