"""Why work failed or was not done, as administrators read it, and what they can do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from bursary.assignments.choices import ActionType


@dataclass(frozen=True)
class CauseInWords:
    """A cause as a sentence, and what to do: lazy texts, in the reader's language."""

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

CAUSES: Mapping[str, CauseInWords] = {
    "address_rejected": CauseInWords(_("The address does not exist."), _("Correct the address.")),
    "mailbox_unavailable": CauseInWords(_("The mailbox takes no mail at present."), _TRY_AGAIN),
    "message_refused": CauseInWords(
        _("The mail server refused the message."),
        _ASK_OPERATOR,
        _("The server's answer, on the timeline, says why: settle that with it, then retry it."),
    ),
    "message_invalid": CauseInWords(
        _("The message could not be built."),
        _ASK_OPERATOR,
        _("The timeline says which part of it is invalid: change that in the settings, then retry it."),
    ),
    "mail_server_refuses_us": CauseInWords(
        _("The mail server does not accept our mails."),
        _ASK_OPERATOR,
        _("Check the account and the sender in the settings against the server's answer, then retry it."),
    ),
    "sending_limit_reached": CauseInWords(
        _("The mail provider's limit for sending is reached: mails go out later, and more slowly."),
        _TRY_AGAIN,
    ),
    "mail_server_busy": CauseInWords(_("The mail server asks to come again later."), _TRY_AGAIN),
    "mail_folder_not_writable": CauseInWords(
        _("The folder for mails is full, or cannot be written."),
        _ASK_OPERATOR,
        _("Free space on its disk, or let the service write to it, then retry it."),
    ),
    "answer_lost": CauseInWords(
        _("The mail server did not confirm the mail: it may have arrived."), _TRY_AGAIN
    ),
    "mail_server_unreachable": CauseInWords(_("The mail server does not answer."), _TRY_AGAIN),
    "ledger_refused": CauseInWords(_("The money could not be spent."), _("The learner can accept again.")),
    "unexpected_error": CauseInWords(
        _("An unexpected error."),
        _ASK_OPERATOR,
        _("The stack trace on the timeline says where: mend that, then retry it."),
    ),
    "worker_died": CauseInWords(
        _("The work was interrupted each time."),
        _ASK_OPERATOR,
        _("The service's log says why it ended then: mend that, then retry it."),
    ),
    "account_deactivated": CauseInWords(
        _("The learner's account is deactivated: no mails are sent."), _("Cancel it to free the money.")
    ),
    "account_deleted": CauseInWords(
        _("The learner's account was deleted: no mails are sent."), _("Cancel it to free the money.")
    ),
    "address_refused": CauseInWords(
        _("The mail server of the address refused an earlier mail for good."), _("Correct the address.")
    ),
    "mail_unwanted": CauseInWords(
        _("The learner reported an earlier mail as unwanted."), _("Ask the learner by another way.")
    ),
    "unsubscribed": CauseInWords(_("The learner has unsubscribed from reminders."), ""),
    "deadline_passed": CauseInWords(_("The deadline had passed."), _("Assign the course again.")),
    "budget_not_in_use": CauseInWords(
        _("The budget is not in use."),
        _("Ask the operator of this service to change the budget."),
        _("Change the budget in the administration."),
    ),
    "start_unknown": CauseInWords(_("The start of the course was not known any more."), ""),
    "started": CauseInWords(_("The course had started."), ""),
    "never_notified": CauseInWords(_("The learner had no mail about the assignment before."), ""),
    "skipped_on_request": CauseInWords(_("An administrator decided so."), ""),
    "assigned_twice": CauseInWords(_("The learner has the same course by another assignment."), ""),
    "forgotten": CauseInWords(_("The learner's data was erased."), ""),
    "no_longer_wanted": CauseInWords(_("The assignment had changed before its turn."), ""),
    ActionType.ALLOCATED: CauseInWords(_("The course was assigned again before its turn."), ""),
    ActionType.REDEEMED: CauseInWords(_("The learner had accepted the course."), ""),
    ActionType.CANCELLED: CauseInWords(_("The assignment was cancelled before its turn."), ""),
    ActionType.DECLINED: CauseInWords(_("The learner had declined the course."), ""),
    ActionType.EXPIRED: CauseInWords(_("The assignment expired before its turn."), ""),
    ActionType.REVERSED: CauseInWords(_("The money was refunded before its turn."), ""),
    ActionType.EMAIL_CORRECTED: CauseInWords(_("The address was corrected meanwhile."), ""),
}
_OTHER = CauseInWords(_("It failed."), _TRY_AGAIN)

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


def in_words(cause: str) -> CauseInWords:
    """Return a cause in words; of one that has none here, that it failed."""
    return CAUSES.get(cause, _OTHER)
